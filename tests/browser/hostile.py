"""Texts that want to be markup, code, an address or a formula, for every place that shows a text."""

from dataclasses import replace

from tests.browser.samples import Sample

_RUN = "alert(1)"

PAYLOADS: tuple[str, ...] = (
    # Elements, and out of what a text may be put in.
    f"<script>{_RUN}</script>",
    f"</script><script>{_RUN}</script>",
    f"x</script><img src=x onerror={_RUN}>",
    f"<img src=x onerror={_RUN}>",
    f"<svg onload={_RUN}>",
    f"<svg/onload={_RUN}//",
    f"<svg><script>{_RUN}</script></svg>",
    f"<svg><animate onbegin={_RUN} attributeName=x dur=1s>",
    f"<math><mtext></form><form><mglyph><style></math><img src onerror={_RUN}>",
    f"<iframe srcdoc='<script>{_RUN}</script>'>",
    f"<iframe src='javascript:{_RUN}'>",
    f"<object data='javascript:{_RUN}'>",
    f"<embed src='javascript:{_RUN}'>",
    f"<details open ontoggle={_RUN}>",
    f"<input autofocus onfocus={_RUN}>",
    f"<video><source onerror={_RUN}></video>",
    f"<audio src=x onerror={_RUN}>",
    f"<body onload={_RUN}>",
    f"<marquee onstart={_RUN}>x</marquee>",
    f"<template><img src=x onerror={_RUN}></template>",
    f"<noscript><p title='</noscript><img src=x onerror={_RUN}>'>",
    f"</title><img src=x onerror={_RUN}>",
    f"</textarea><img src=x onerror={_RUN}>",
    f"</style><img src=x onerror={_RUN}>",
    f"</table><img src=x onerror={_RUN}>",
    f"</td></tr></table><script>{_RUN}</script>",
    f"<!--><img src=x onerror={_RUN}>-->",
    f"--><img src=x onerror={_RUN}>",
    f"<![CDATA[><img src=x onerror={_RUN}>]]>",
    f"<ImG sRc=x OnErRoR={_RUN}>",
    f"<img\nsrc=x\tonerror={_RUN}>",
    f"<<img src=x onerror={_RUN}>>",
    "<style>*{display:none}</style>",
    "<link rel=stylesheet href=https://192.0.2.1/a.css>",
    "<meta http-equiv=refresh content='0;url=https://192.0.2.1/'>",
    "<base href=https://192.0.2.1/>",
    "<form action=https://192.0.2.1/><button>x</button></form>",
    "<img src=https://192.0.2.1/a.png>",
    "<script src=https://192.0.2.1/a.js></script>",
    "<a href='https://192.0.2.1/' autofocus>x</a>",
    # Out of an attribute.
    f'" onerror={_RUN} x="',
    f"' onerror={_RUN} x='",
    f'" autofocus onfocus={_RUN} tabindex=0 x="',
    f"x onmouseover={_RUN}",
    f'"><script>{_RUN}</script>',
    f"'><script>{_RUN}</script>",
    f"`><script>{_RUN}</script>",
    'x" style="display:none',
    "x; background: url(https://192.0.2.1/a.png)",
    # Out of a text of a script.
    f"');{_RUN};('",
    f'");{_RUN};("',
    f"\\');{_RUN};//",
    f"${{{_RUN}}}",
    f"\u2028{_RUN}\u2029",
    "__proto__",
    "constructor",
    "toString",
    # Out of a template.
    "{{ 7 * 7 }}",
    "{% raw %}{{ config }}",
    "{{ ''.__class__.__mro__ }}",
    f"{{{{constructor.constructor('{_RUN}')()}}}}",
    "%(x)s {0} %s $x",
    # Addresses.
    f"javascript:{_RUN}",
    f"JaVaScRiPt:{_RUN}",
    f"java\tscript:{_RUN}",
    f"data:text/html,<script>{_RUN}</script>",
    "//192.0.2.1/a.png",
    "\\\\192.0.2.1\\a.png",
    "https://user:word@192.0.2.1/a.png",
    "../../../etc/passwd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "file:///etc/passwd",
    "a?b#c%d&e=f;g+h",
    # Entities and encodings.
    f"&lt;img src=x onerror={_RUN}&gt;",
    f"&#60;img src=x onerror={_RUN}&#62;",
    f"\\u003cimg src=x onerror={_RUN}\\u003e",
    f"\uff1cscript\uff1e{_RUN}\uff1c/script\uff1e",
    "&NotEqualTilde;&zwj;",
    # Formulas of a spreadsheet.
    '=HYPERLINK("https://192.0.2.1/","x")',
    "+1+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|'x'!A1",
    "-2+3",
    # What is hard to see, to order or to fit.
    "invoice\u202egnp.exe",
    "\u2066left\u2069 \u200bzero\u200b",
    "שלום עולם",
    "مرحبا بالعالم",
    "e\u0301" * 20,
    "a\u0300\u0301\u0302\u0303\u0304\u0305" * 10,
    "👩‍👩‍👧‍👦🏳️‍🌈",
    "tab\there\nand there",
    "   ",
    "null",
    "NaN",
    "w" * 500,
    "a b " * 300,
)

_TOLD = ("device", "precision", "weights_origin", "nst_version", "torch_version")


def rows() -> list[Sample]:
    """Each payload as the text of everything that has one, in a row that was made and one that was not."""
    made = []
    for number, payload in enumerate(PAYLOADS):
        row = Sample(
            number=2 * number,
            content=f"in/{payload}.jpg",
            style=payload,
            labels={"note": payload},
            outcome=dict.fromkeys(_TOLD, payload),
            curve=2,
        )
        # Labels that differ within a pair are what its rows are told apart by.
        other = replace(
            row, number=2 * number + 1, backbone="vgg19", labels={"note": "other"}, outcome={}
        )
        made += [row, other.failed("bad_row", payload)]
    return made


def names() -> list[Sample]:
    """Each payload as the name of a label, and of a backbone, as a row has it that was refused."""
    first = Sample(number=0, labels={each if each.strip() else "blank": "x" for each in PAYLOADS})
    others = [
        Sample(number=number, backbone=payload).failed("bad_row", "no such backbone")
        for number, payload in enumerate(PAYLOADS, 1)
    ]
    return [first, *others]
