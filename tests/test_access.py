"""What may be read, from the text of a URL and from where links lead."""

from pathlib import Path

import fsspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nst import storage
from nst.errors import AccessError, ConfigError
from nst.manifest.access import Access, is_inside
from nst.redaction import redacted

USUAL = Access(("file", "s3"))
WEB = Access(("file", "s3", "http", "https"))

KEYS = ["a b", "a+b", "a%20b", "a#b", "a?b&c=d", "a//b", "a'\"b", "ä", "a@2x.png", "a/../c", "./a"]


@pytest.mark.parametrize(
    "uri",
    ["/a/b.png", "/a?versionId=3", "file:///a/b.png", "~/a", *(f"s3://b/{key}" for key in KEYS)],
)
def test_paths_and_keys_of_any_text_may_be_read(uri: str) -> None:
    USUAL.check(uri)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://host.org/a.png", "a URL of file, s3, where file is a path"),
        ("memory://a/b", "a URL of file, s3"),
        ("local:///a/b", "a URL of file, s3"),
        ("data:image/png;base64,AA", "a URL of file, s3"),
        ("file:/etc/passwd", "file:///etc/passwd', with :// behind"),
        ("/in/http://host.org/a", "a URL of file, s3"),
        ("simplecache::s3://b/k", "a URL of file, s3"),
        ("zip://a::http://host.org/b", "a URL of file, s3"),
        ("s3://b/k::file:///etc/passwd", "one path or URL without '::'"),
        ("/a/simplecache::b", "one path or URL without '::'"),
        ("S3://B/k", "s3:// in lower case"),
        ("s3:///b/k", "s3://bucket/key"),
        ("s3://b", "s3://bucket/key"),
        ("s3://b//", "s3://bucket/key"),
        ("s3://../k", "s3://bucket/key"),
        ("s3://s3a://other/k", "without credentials"),
        ("s3://KEY:se/cret@b/k", "without credentials"),
        ("s3://KEY@b/k", "without credentials"),
        ("s3://b/k?a=b&X-Amz-Signature=cret", "without credentials"),
        ("/pictures/k?token=cret", "without credentials"),
        ("s3://b/AKIAIOSFODNN7SECRET/k", "without credentials"),
        ("s3://b/k?versionId=3", "without a versionId"),
        ("file://host/a", "file:/// with an absolute path"),
        ("/a\0b", "without NUL"),
        ("/a\udc80b", "characters that UTF-8 has"),
    ],
)
def test_other_urls_may_not_and_their_secrets_are_not_told(uri: str, expected: str) -> None:
    with pytest.raises(AccessError) as caught:
        USUAL.check(uri)
    assert expected in str(caught.value)
    assert "cret" not in str(caught.value)


def test_where_no_file_may_be_read_a_home_may_not_and_a_name_with_a_tilde_may() -> None:
    access = Access(("s3",))
    assert access.objection_to_kind("~x.png") is None
    for reference in ("~", "~/x.png"):
        assert "a URL of s3" in str(access.objection_to_kind(reference))


HOSTS_WITHIN = [
    *("localhost", "LocalHost.", "x.localhost", "printer.local", "metadata.google.internal"),
    *("intranet", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001"),
    *("0.0.0.0", "0", "10.1.2.3", "192.168.0.1", "172.16.0.1", "100.64.0.1", "169.254.169.254"),
    *("[0:0:0:0:0:0:0:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]"),
    *("[0064:ff9b:0:0:0:0:7f00:1]", "[2002:7f00:1:0:0:0:0:1]", "[fe80:0:0:0:0:0:0:1]", "224.0.0.1"),
    *(
        "127.0.0.1:9000",
        "[::1]",
        "①27.0.0.1",
        "127。0.0.1",
        "127.0.0.1%20",
        "a\\@127.0.0.1",
        "h st",
    ),
]


@pytest.mark.parametrize("host", HOSTS_WITHIN)
def test_hosts_of_ones_own_network_may_not_be_asked(host: str) -> None:
    with pytest.raises(AccessError):
        WEB.check(f"http://{host}/a.png")


@pytest.mark.parametrize(
    "host", ["host.org", "HOST.org:8443", "8.8.8.8", "[2606:4700:4700:0:0:0:0:1111]"]
)
def test_hosts_of_the_internet_may_be_asked_once_their_scheme_is_allowed(host: str) -> None:
    WEB.check(f"https://{host}/a.png?size=large")


def test_a_root_opens_the_private_host_that_it_names_and_no_other() -> None:
    access = Access(WEB.schemes, ("http://127.0.0.1:9000/pictures",))
    access.check("http://127.0.0.1:9000/pictures/a.png")
    for uri in (
        "http://127.0.0.1:9001/pictures/a.png",
        "http://127.1:9000/pictures/a.png",
        "http://127.0.0.1:9000/picturesque/a.png",
        "http://127.0.0.1:9000/pictures/../a.png",
        "http://127.0.0.1:9000/pictures/%2e%2E/a.png",
        "http://127.0.0.1:9000/pictures/%252e%252e%252fa.png",
        "http://host.org/pictures/a.png",
    ):
        with pytest.raises(AccessError, match="a place in http"):
            access.check(uri)


def test_roots_hold_by_whole_parts_of_a_key() -> None:
    access = Access(USUAL.schemes, ("s3://b/in/", "s3://c"))
    for uri in ("s3://b/in/a.png", "s3://b/in//a.png", "s3://b/in/x/a%2e.png", "s3://c/a.png"):
        access.check(uri)
    for uri in ("s3://b/inside/a.png", "s3://b/a.png", "s3://b/in/../a.png", "s3://d/a", "/b/in/a"):
        with pytest.raises(AccessError, match=r"a place in s3://b/in/ or s3://c"):
            access.check(uri)


def test_roots_on_a_disk_hold_for_what_links_lead_to(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "in", outside):
        folder.mkdir(parents=True)
        (folder / "a.png").touch()
    (root / "way-out").symlink_to(outside)
    (root / "out.png").symlink_to(outside / "a.png")
    (root / "fine.png").symlink_to(root / "in/a.png")
    (tmp_path / "alias").symlink_to(root)
    for access in (Access(USUAL.schemes, (str(root),)), Access(("file",), (f"file://{root}",))):
        for path in (root / "in/a.png", root / "fine.png", tmp_path / "alias/in/a.png"):
            access.check(str(path))
            access.check(f"file://{path}")
        for inner in ("way-out/a.png", "out.png", "../outside/a.png", "way-out/../outside/a.png"):
            with pytest.raises(AccessError, match="a place in"):
                access.check(f"{root}/{inner}")
        with pytest.raises(AccessError, match="a place in"):
            access.check("~/a.png")
    Access(USUAL.schemes, (str(tmp_path / "alias"),)).check(str(root / "in/a.png"))


@pytest.mark.parametrize(
    "root", ["in", "", "file:in", "s3://", "s3://b/../c", "http://h.org", "s3://K:cret@b", "zip://a::b"]
)  # fmt: skip
def test_what_is_no_root_is_refused(root: str) -> None:
    with pytest.raises(ConfigError, match="--root: expected") as caught:
        Access(USUAL.schemes, (root,))
    assert "cret" not in str(caught.value)


def test_nothing_is_read_from_what_the_run_writes(tmp_path: Path) -> None:
    access = Access(USUAL.schemes, closed=(str(tmp_path / "out/images"), "s3://b/out/images"))
    (tmp_path / "out/images").mkdir(parents=True)
    (tmp_path / "link.png").symlink_to(tmp_path / "out/images/a.png")
    access.check(str(tmp_path / "out/a.png"))
    for uri in (tmp_path / "link.png", tmp_path / "out/images/a.png", "s3://b/out/images/a.png"):
        with pytest.raises(AccessError, match="outside the folders that this run writes"):
            access.check(str(uri))


@pytest.mark.parametrize("folder", ["/in/out", "s3://b/out/"])
def test_folders_below_one_may_be_closed_and_not_its_own_files(folder: str) -> None:
    access = Access(USUAL.schemes, closed_below=(folder,))
    start = folder.rstrip("/")
    for uri in (f"{start}/a.png", f"{start}2/x/a.png", start):
        assert access.objection(uri) is None
    for uri in (f"{start}/x/a.png", f"{start}/x/y/a.png"):
        assert "outside the folders that this run writes" in str(access.objection(uri))


@pytest.mark.parametrize(
    ("pattern", "is_refused"),
    [
        ("*.png", False),
        ("*/*.png", False),
        ("*/*/*.png", True),
        ("**/*.png", True),
        ("**", True),
        ("o?t/im[a]ges/*", True),
        ("[!o]ut/images/*", False),
        ("**/inputs/*.png", False),
    ],
)
def test_a_pattern_may_not_reach_into_what_the_run_writes(pattern: str, is_refused: bool) -> None:
    for folder in ("/in", "s3://b/in"):
        access = Access(USUAL.schemes, closed=(f"{folder}/out/images",))
        assert (access.objection_to_pattern(f"{folder}/{pattern}") is not None) == is_refused


def test_a_pattern_is_looked_for_in_the_roots_alone() -> None:
    access = Access(USUAL.schemes, ("/in", "s3://b/in"))
    for pattern in ("/in/*.png", "/in/x/**", "s3://b/in/*.png"):
        assert access.objection_to_pattern(pattern) is None
    for pattern in (
        "/*/a.png",
        "/in/../*",
        "/in/*/../../x",
        "s3://b/*",
        "s3://*/in/a",
        "http://h/*",
    ):
        assert access.objection_to_pattern(pattern) is not None


@pytest.mark.parametrize(
    ("uri", "folder", "expected"),
    [
        ("/a/b", "/a", True),
        ("/a", "/a/", True),
        ("/ab", "/a", False),
        ("/a/b/../../c", "/a", False),
        ("/a", "/", True),
        ("s3://b/a/c", "s3://b/a", True),
        ("s3://b/ac", "s3://b/a", False),
        ("s3://b/a", "/b", False),
    ],
)
def test_is_inside(uri: str, folder: str, expected: bool) -> None:
    assert is_inside(uri, folder) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://AKIA:se/cr+et@b/k", "s3://***@b/k"),
        ("https://user@host/a", "https://***@host/a"),
        ("s3://b/a@2x.png", "s3://b/a@2x.png"),
        ("k?x=1&X-Amz-Signature=abc&y=2", "k?x=1&X-Amz-Signature=***&y=2"),
        ("nothing of the kind", "nothing of the kind"),
    ],
)
def test_redacted(text: str, expected: str) -> None:
    assert redacted(text) == expected


# Whatever the text

PARTS = st.sampled_from(
    [
        *("..", ".", "", "~", "in", "inside", "a.png", "other", "b", "%2e%2e", "?versionId=x"),
        *("file:", "s3:", "s3a:", "data:", "::", ":", "/", "//", "\\", "@", "*", " "),
    ]
)
REFERENCES = st.one_of(st.text(max_size=40), st.lists(PARTS, max_size=8).map("/".join))
REFERENCES = REFERENCES | st.builds(
    "{}{}".format, st.sampled_from(["s3://", "file://"]), REFERENCES
)
MANY = settings(max_examples=100, deadline=None, database=None)


@MANY
@given(REFERENCES)
@example("s3://s3a://other/in/a.png")
@example("~root/../in/a.png")
def test_what_passes_lies_in_a_root_as_the_store_sees_it(reference: str) -> None:
    root, bucket = "/nst-root/in", "s3://b/in"
    access = Access(USUAL.schemes, (root, bucket))
    for base in (root, bucket, "/nst-root/in/deeper"):
        uri = storage.resolve(base, reference)
        if access.objection_to_kind(reference) or access.objection(uri):
            continue
        fs, path = fsspec.core.url_to_fs(uri, use_listings_cache=False)
        if uri.startswith("s3://"):
            found_bucket, key, _ = fs.split_path(path)
            assert found_bucket == "b"
            assert key.split("/")[0] == "in"
            assert ".." not in key.split("/")
        else:
            assert Path(path).resolve().is_relative_to(root)
