"""What a row says (20 to 40)."""

import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from tests import servers
from tests.catalogue import Bench, Case, Letter, Seen, bad, good
from tests.galleries import files_in, read_gallery
from tests.helpers import Page, csv_bytes, picture_bytes, write_project

Rows = Sequence[Mapping[str, object]]

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def jsonl(rows: Rows) -> bytes:
    return "\n".join(json.dumps(row) for row in [good(), *rows]).encode()


def fails(
    number: int, name: str, rows: Rows, reason: str, *arguments: str, said: str = ""
) -> tuple[Case, Case]:
    """Rows each of which is wrong: refused with the manifest, or one by one if the run may go on."""

    def refused(bench: Bench) -> Letter:
        for row in rows:
            seen = bench.run_file("m.jsonl", jsonl([row]), *arguments)
            assert "line 2" in seen.printed
            assert said in seen.printed
            assert seen.letter == "A", row
            assert not bench.output.exists()
        return "A"

    def one_by_one(bench: Bench) -> Letter:
        seen = bench.run_file("m.jsonl", jsonl(rows), *arguments, "--keep-going")
        assert [record.row for record in seen.records] == list(range(1, len(rows) + 2))
        reasons = [record.outcome.reason for record in seen.records]
        assert reasons == [None, *[reason] * len(rows)], reasons
        assert [path.name for path in (bench.output / "images").iterdir()] == ["good.png"]
        return seen.letter

    return (
        Case(number, "A", name, refused),
        Case(number, "R", f"{name}, and the others go on", one_by_one),
    )


def each(column: str, *values: object) -> Rows:
    """A bad row for each value."""
    return [bad(id=f"bad{i}", **{column: value}) for i, value in enumerate(values)]


def inputs(bench: Bench) -> str:
    return str(bench.inputs)


# 20


def default_backbone(bench: Bench) -> Letter:
    seen = bench.run_file("m.jsonl", jsonl(each("backbone", "", " ", None)))
    assert [record.backbone for record in seen.records] == ["vgg16", "vgg19", "vgg19", "vgg19"]
    return seen.letter


# 21, 22


def not_there(content: str) -> Callable[[Bench], Letter]:
    def observe(bench: Bench) -> Letter:
        (bench.inputs / "folder").mkdir(parents=True)
        seen = bench.run([bad(content=content)])
        assert seen.reason() == "input_not_found"
        return seen.letter

    return observe


# 23, 24


def same_id_refused(bench: Bench) -> Letter:
    seen = bench.run([bad(), bad(content="b.png")])
    assert "line 4, column 'id': expected an id that line 3 does not have" in seen.printed
    return seen.letter


def same_id_fails(bench: Bench) -> Letter:
    seen = bench.run([bad(), bad(content="b.png"), bad(content="b.png")], "--keep-going")
    first, *others = seen.records[1:]
    assert (first.outcome.id, first.outcome.status) == ("bad", "ok")
    assert [record.outcome.reason for record in others] == ["bad_row"] * 2
    assert len({record.outcome.id for record in seen.records}) == 4
    return seen.letter


def same_rows(bench: Bench) -> Letter:
    seen = bench.run([bad(id=""), bad(id="")])
    assert [record.row for record in seen.records] == [1, 2, 3]
    assert len({record.outcome.picture for record in seen.records}) == 2
    assert len(list((bench.output / "images").iterdir())) == 2
    return seen.letter


# 25


def ids_alike(bench: Bench) -> Letter:
    """No file system may take one id for another: those that one might are no ids, or no two."""
    ids = ["bad", "BAD", "bad.", "caf\u00e9", "cafe\u0301"]
    seen = bench.run([bad(id=text) for text in ids], "--keep-going")
    assert [record.outcome.status for record in seen.records[:2]] == ["ok", "ok"]
    assert [record.outcome.reason for record in seen.records[2:]] == ["bad_row"] * 4
    assert sorted(p.name for p in (bench.output / "images").iterdir()) == ["bad.png", "good.png"]
    return seen.letter


UNSAFE_IDS = [
    *("../../x", "/abs", "a/b", "..", ".", "CON", "nul", "com1.png", "x" * 300, "a\nb", "a\u202eb"),
    *("\N{GRINNING FACE}", "%2e%2e%2f", "-rf", "a\\b", "C:x"),
]

# 27, 28

MARKUP = [
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "${7*7}"),
    *(
        "javascript:alert(1)",
        "' onmouseover='alert(1)",
        "</dd><svg/onload=alert(1)>",
        "<!--",
        "&amp;quot;",
    ),
]
FORMULAS = ['=HYPERLINK("http://host.org")', "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)"]


def labels_are_text(texts: Sequence[str]) -> Callable[[Bench], Letter]:
    def observe(bench: Bench) -> Letter:
        rows = [bad(id=f"bad{i}", label_note=text) for i, text in enumerate(texts)]
        seen = bench.run(rows)
        assert [record.labels.get("note") for record in seen.records] == [None, *texts]
        # What tells no row from another stands in the data alone.
        shown = {item.get("label_note") for item in read_gallery(files_in(bench.output)).items}
        assert shown == {None, *texts}
        assert_no_markup(Page((bench.output / "index.html").read_text()))
        assert_no_markup(Page((bench.output / "pages/1.html").read_text()), num_scripts=0)
        # No table that a spreadsheet would open and reckon with: labels go to Parquet and HTML.
        assert not list(bench.output.rglob("*.csv"))
        return seen.letter

    return observe


def assert_no_markup(page: Page, *, num_scripts: int = 1) -> None:
    """Nothing that a page shows has become a tag or an attribute."""
    assert len(page.all("script")) == num_scripts
    assert not page.all("svg")
    assert not any(name.startswith("on") for _, own in page.tags for name in own)
    assert all("/" in str(image["src"]) for image in page.all("img"))


def names_are_text(bench: Bench) -> Letter:
    """Markup in a file's name, and in what is shown of rows that are refused."""
    name = "<b>&'\"{{7*7}}.png"
    write_project(bench.inputs, [])
    (bench.inputs / name).write_bytes(picture_bytes(48, 64))
    rows = [bad(content=name), *(bad(id=text, style=text) for text in MARKUP)]
    seen = bench.run_file("m.jsonl", jsonl(rows), "--keep-going")
    page = Page((bench.output / "index.html").read_text())
    assert_no_markup(page)
    assert name.removesuffix(".png") in page.text
    assert seen.reason("bad") is None
    return seen.letter


# 30 to 33


def places_outside(bench: Bench) -> Letter:
    write_project(bench.inputs, [])
    outside = bench.folder / "outside.png"
    outside.write_bytes(picture_bytes(48, 64))
    (bench.inputs / "way-out.png").symlink_to(outside)
    (bench.inputs / "up").symlink_to(bench.folder)
    texts = [
        *("file:///etc/passwd", "/etc/passwd", "local:///etc/passwd", "~/x.png", "../outside.png"),
        *("way-out.png", "up/outside.png", str(outside), f"{bench.inputs}/../outside.png"),
        *(f"file://{outside}", f"{bench.inputs}side.png", "file:/etc/passwd", "file://etc/passwd"),
    ]
    rows = each("content", *texts)
    seen = bench.run_file("m.jsonl", jsonl(rows), "--keep-going", "--root", inputs(bench))
    assert [record.outcome.reason for record in seen.records[1:]] == ["path_not_allowed"] * len(
        rows
    )
    return seen.letter


def place_outside_refused(bench: Bench) -> Letter:
    seen = bench.run([bad(content="../outside.png")], "--root", inputs(bench))
    assert f"line 3, column 'content': expected a place in {bench.inputs}" in seen.printed
    return seen.letter


@contextmanager
def nobody_is_called(bench: Bench) -> Iterator[None]:
    """Fails where anything is looked up or connected to."""

    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"{arguments} was called")

    with bench.monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket.socket, "connect_ex", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


def without_a_call(case: Case) -> Case:
    def observe(bench: Bench) -> Letter:
        with nobody_is_called(bench):
            return case.observe(bench)

    return Case(case.number, case.letter, case.name, observe)


HOSTS = [
    *("127.0.0.1:9", "169.254.169.254", "[::1]", "[0:0:0:0:0:0:0:1]", "2130706433", "0x7f000001"),
    *("017700000001", "127.1", "localhost", "metadata.google.internal", "[0:0:0:0:0:ffff:7f00:1]"),
    *("user:pw@host.org", "10.0.0.1", "host.org\\@127.0.0.1", "①27.0.0.1"),
]
STORES = [
    *(
        "simplecache::s3://b/k",
        "filecache::s3://b/k",
        "zip://a::http://host.org/b",
        "data:image/png,x",
    ),
    *(
        "reference::s3://b/k",
        "memory://a/b",
        "github://o:r@main/a",
        "git://a/b",
        "ftp://host.org/a",
    ),
    *("sftp://host.org/a", "smb://host.org/a", "dask://a", "blockcache::/etc/passwd", "tar://a::b"),
    *("gs://b/k", "hdfs://host/a", "webhdfs://host/a", "jupyter://host/a", "dir::file:///etc"),
]
ODD_URLS = [
    *("S3://B/k", "s3:///k", "s3://b", "s3://b/", "s3://../x", "s3://.", "s3://s3a://other/k"),
]


# 34, 35


def nst_on_s3(bench: Bench, names: Sequence[str]) -> Seen:
    """`nst run` on contents of these keys in a store."""
    url, bucket = servers.moto_url(), f"bucket-{secrets.token_hex(8)}"
    for name, value in servers.environment(url).items():
        bench.monkeypatch.setenv(name, value)
    # Each name is another picture, so that no two keys can pass for one another.
    objects = {name: picture_bytes(48, 64, seed=seed) for seed, name in enumerate(names)}
    servers.copy_up(url, bucket, objects)
    write_project(bench.inputs, [])
    rows = [
        good() | {"id": f"row{i}", "content": f"s3://{bucket}/{name}"}
        for i, name in enumerate(names)
    ]
    rows = [row | {"style": str(bench.inputs / "s.png")} for row in rows]
    manifest = bench.folder / "m.csv"
    manifest.write_bytes(csv_bytes(rows))
    return bench.nst("run", str(manifest), "--output", str(bench.output), "--no-isolate")


def keys_are_literal(names: Sequence[str]) -> Callable[[Bench], Letter]:
    def observe(bench: Bench) -> Letter:
        seen = nst_on_s3(bench, names)
        assert [r.outcome.status for r in seen.records] == ["ok"] * len(names), seen.printed
        assert len({record.outcome.content_digest for record in seen.records}) == len(names)
        page = Page((bench.output / "pages/1.html").read_text())
        for record in seen.records:
            link = f"../{quote(str(record.outcome.picture))}"
            assert link in {a.get("href") for a in page.all("a")}
        return seen.letter

    return observe


DOTTED_KEYS = ["c.png", "a/../c.png", "a/c.png", "a/./c.png", "./c.png", "../c.png"]
ODD_KEYS = [
    *(
        "a b.png",
        "a+b.png",
        "a%20b.png",
        "a%2Bb.png",
        "a#b.png",
        "a?b.png",
        "a?b&c=d.png",
        "a&b.png",
    ),
    *(
        "a//b.png",
        "a'b.png",
        'a"b.png',
        "a\u00e9b.png",
        "ae\u0301b.png",
        "\u6d6e\u4e16.png",
        "a@2x.png",
    ),
    *("a;b.png", "a=b.png", "a~b.png", "[a].png", "a*b.png", "a<b>.png"),
]


# 36


def secrets_are_struck_out(bench: Bench) -> Letter:
    texts = [
        f"s3://AKIAIOSFODNN7:{SECRET}@b/k.png",
        f"s3://b/k.png?X-Amz-Credential=x&X-Amz-Signature={SECRET.replace('/', '')}",
        f"https://user:{SECRET}@host.org/k.png",
    ]
    seen = bench.run_file("m.jsonl", jsonl(each("content", *texts)), "--keep-going")
    assert [record.outcome.reason for record in seen.records[1:]] == ["path_not_allowed"] * 3
    told = [
        seen.printed.encode(),
        *(p.read_bytes() for p in bench.output.rglob("*") if p.is_file()),
    ]
    told.append(repr(seen.records).encode())
    assert not any(part in text for text in told for part in (b"K7MDENG", b"wJalr"))
    return seen.letter


# 38

NUMBERS: Mapping[str, Sequence[Any]] = {
    "size": [1, 31, 100_000, -64, "NaN", "inf", 1e308, "1,5", True, 10**400, "64px", 64.5],
    "steps": [0, -1, 10**9, "1e308", "many", True],
    "style_weight": ["nan", "inf", "-inf", -1, 1e308, "1,5", True, [1], "0x10"],
    "tolerance": [-0.1, 2, "nan"],
    "seed": [-1, 2**63, 0.5],
    "style_blend": ["nan", "0", "-1 2", "1e308", [True]],
}
WRONG_NUMBERS = [
    bad(id=f"{column}{i}", **{column: value})
    for column, values in NUMBERS.items()
    for i, value in enumerate(values)
]


# 39, 40


def style_is_content(bench: Bench) -> Letter:
    return bench.run([bad(style="a.png")]).letter


def own_output(bench: Bench, *arguments: str) -> Seen:
    (bench.output / "images").mkdir(parents=True)
    (bench.output / "images/before.png").write_bytes(picture_bytes(48, 64))
    write_project(bench.inputs, [])
    (bench.inputs / "link.png").symlink_to(bench.output / "images/before.png")
    rows = [
        bad(id=f"bad{i}", content=text)
        for i, text in enumerate(["../out/images/before.png", "link.png"])
    ]
    return bench.run(rows, *arguments)


def own_output_refused(bench: Bench) -> Letter:
    seen = own_output(bench)
    assert "outside the folders that this run writes" in seen.printed
    return seen.letter


def own_output_fails(bench: Bench) -> Letter:
    seen = own_output(bench, "--keep-going")
    assert [seen.reason(f"bad{i}") for i in range(2)] == ["path_not_allowed"] * 2
    return seen.letter


def output_at(folder: str) -> Callable[[Bench], Letter]:
    """With the output at this folder, seen from the one of the inputs."""

    def observe(bench: Bench) -> Letter:
        manifest = write_project(bench.inputs / "pictures", [good()])
        before = sorted(path.name for path in bench.folder.rglob("*"))
        (bench.folder / "alias").symlink_to(bench.inputs)
        output = os.path.normpath(bench.inputs / "pictures" / folder)
        seen = bench.nst("run", str(manifest), "--output", output, "--no-isolate")
        after = sorted(path.name for path in bench.folder.rglob("*") if path.name != "alias")
        if seen.letter == "A":
            assert "--output: expected a folder without inputs in it" in seen.printed
            assert after == before
        return seen.letter

    return observe


def pattern_reaches_the_output(bench: Bench) -> Letter:
    write_project(bench.inputs, [])
    text = f"content: {bench.folder}/**/*.png\nstyle: s.png\nbackbone: vgg16\nsize: 48\nsteps: 1\n"
    seen = bench.run_file("m.yaml", text.encode())
    assert "line 1, column 'content': expected a pattern that does not reach" in seen.printed
    return seen.letter


def output_beside_what_a_pattern_matches(bench: Bench) -> Letter:
    text = "content: ../in/a.*\nstyle: s.png\nbackbone: vgg16\nsize: 48\nsteps: 1\n"
    return bench.run_file("m.yaml", text.encode()).letter


CASES: tuple[Case, ...] = (
    *fails(20, "no content", each("content", "", " \t", None), "bad_row", said="column 'content'"),
    *fails(20, "no style", each("style", "", " ", None, [], "|"), "bad_row", said="column 'style'"),
    Case(20, "OK", "no backbone", default_backbone),
    Case(21, "R", "a content that is not there", not_there("none.png")),
    Case(22, "R", "a folder for a content", not_there("folder")),
    Case(22, "R", "a content that ends in a slash", not_there("folder/")),
    Case(23, "A", "an id for two rows", same_id_refused),
    Case(23, "R", "an id for two rows, and the first has it", same_id_fails),
    Case(24, "OK", "a row twice", same_rows),
    Case(25, "R", "ids that some file system takes for one", ids_alike),
    *fails(26, "ids that are no file's name", [bad(id=text) for text in UNSAFE_IDS], "bad_row", said="column 'id'"),
    *fails(27, "markup in ids", [bad(id=text) for text in MARKUP], "bad_row", said="column 'id'"),
    Case(27, "OK", "markup in labels", labels_are_text(MARKUP)),
    Case(27, "R", "markup in names", names_are_text),
    *fails(28, "formulas in ids", [bad(id=text) for text in FORMULAS], "bad_row", said="column 'id'"),
    Case(28, "OK", "formulas in labels", labels_are_text(FORMULAS)),
    *fails(29, "a backbone that there is not", each("backbone", "vgg61", "/tmp/net.pt", "http://h/n", "VGG-11"), "bad_row", said="one of vgg16"),
    Case(30, "A", "a path outside the roots", place_outside_refused),
    Case(30, "R", "paths outside the roots, and the others go on", places_outside),
    *map(without_a_call, fails(31, "hosts of one's own network", each("content", *(f"http://{h}/a.png" for h in HOSTS)), "path_not_allowed", "--allow-scheme", "http")),
    *map(without_a_call, fails(31, "the web, which nobody allowed", each("style", "http://host.org/a", "https://host.org/a"), "path_not_allowed", said="--allow-scheme")),
    *map(without_a_call, fails(32, "stores that nobody allowed", each("content", *STORES), "path_not_allowed")),
    *map(without_a_call, fails(33, "odd URLs of a store", each("content", *ODD_URLS), "path_not_allowed")),
    *map(without_a_call, fails(33, "another bucket", each("content", "s3://other/in/a", "s3://b/inside/a", "s3://b/in/../a"), "path_not_allowed", "--root", "s3://b/in", "--root", "/")),
    Case(34, "OK", "keys with dots", keys_are_literal(DOTTED_KEYS)),
    Case(35, "OK", "keys of odd characters", keys_are_literal(ODD_KEYS)),
    Case(36, "R", "secrets in URLs", secrets_are_struck_out),
    *fails(36, "credentials in a URL", each("mask", "s3://KEY:secret@b/k"), "path_not_allowed", said="without credentials"),
    *fails(37, "a version of an object", each("content", "s3://b/k.png?versionId=3"), "path_not_allowed", said="without a versionId"),
    *fails(38, "numbers out of range", WRONG_NUMBERS, "bad_row"),
    Case(39, "OK", "a content for a style", style_is_content),
    Case(39, "A", "a picture of the same output for a content", own_output_refused),
    Case(39, "R", "a picture of the same output for a content, and the others go on", own_output_fails),
    Case(40, "A", "an output that is the inputs' folder", output_at(".")),
    Case(40, "A", "an output that is the inputs' folder by another name", output_at("../../alias/pictures")),
    Case(40, "A", "an output that holds the inputs", output_at("..")),
    Case(40, "OK", "an output below the inputs' folder", output_at("out")),
    Case(40, "OK", "an output beside the inputs' folder", output_at("../picturesque")),
    Case(40, "A", "a pattern that would match the output", pattern_reaches_the_output),
    Case(40, "OK", "a pattern that would not", output_beside_what_a_pattern_matches),
)  # fmt: skip
