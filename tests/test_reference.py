from typing import get_args

import pytest

from docs import reference
from nst.errors import REASONS, Reason
from tests.helpers import ROOT

DOCUMENTS = (
    "README.md",
    "manifests/README.md",
    "docs/OUTPUT.md",
    "docs/OPERATE.md",
    "docs/JSON.md",
    "docs/ARCHITECTURE.md",
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documentation_says_what_the_code_says(name: str) -> None:
    """`make docs` mends it."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert any(f"<!-- {block} -->" in text for block in reference.BLOCKS)
    assert reference.rewritten(text) == text


def test_every_block_stands_in_a_document() -> None:
    documents = "".join((ROOT / n).read_text("utf-8") for n in DOCUMENTS)
    for name in reference.BLOCKS:
        assert f"<!-- {name} -->\n" in documents
        assert f"<!-- /{name} -->" in documents


def test_every_reason_is_told() -> None:
    assert tuple(REASONS) == get_args(Reason)


def test_tables_give_ranges_choices_and_defaults() -> None:
    table = reference.manifest_columns()
    assert (
        "| `size` | `512` | Long edge of the picture, in pixels, at least 32; `content`, or 0, for the content's own. From 0 to 8192. |"
        in table
    )
    assert "One of `lbfgs`, `adam`." in table
    assert "| `content` | required |" in table
    assert "| `backbone` | `vgg19` | Network whose features are used:" in table
