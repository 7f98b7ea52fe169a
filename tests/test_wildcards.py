import errno
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst import storage
from nst.errors import StorageError
from nst.storage import wildcards
from nst.storage.wildcards import matcher, matches, may_match_below


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("a/*.png", "a/b.png", True),
        ("a/*.png", "a/.png", True),
        ("a/*.png", "a/b/c.png", False),
        ("a/?.png", "a/bc.png", False),
        ("**/a.png", "a.png", True),
        ("**/a.png", "x/y/a.png", True),
        ("a/**", "a/b/c", True),
        ("a/**/c", "a/c", True),
        ("a/**/c", "a/b/d", False),
        ("[ab].png", "b.png", True),
        ("[!ab].png", "b.png", False),
        ("a[.png", "a[.png", True),
        ("[]].png", "].png", True),
        ("[a][.png", "a[.png", True),
    ],
)
def test_patterns(pattern: str, path: str, expected: bool) -> None:
    assert matcher(pattern)(path) == expected


def slowly(pattern: str, text: str) -> bool:
    """The same by its definition, one character after the other."""

    @cache
    def rest(i: int, j: int) -> bool:
        if i == len(pattern):
            return j == len(text)
        if pattern[i] == "*":
            return rest(i + 1, j) or (j < len(text) and rest(i, j + 1))
        return j < len(text) and pattern[i] in ("?", text[j]) and rest(i + 1, j + 1)

    return rest(0, 0)


@settings(max_examples=200, deadline=None, database=None)
@given(st.text("*?ab", max_size=8), st.text("ab", min_size=1, max_size=8))
def test_a_segment_is_matched_as_its_definition_says(pattern: str, text: str) -> None:
    assert matcher(pattern.replace("**", "*"))(text) == slowly(pattern, text)


@pytest.mark.parametrize("part", ["*?", "*a", "*[a-b]", "a*", "*[!c]"])
def test_wildcards_by_the_hundred_are_decided(part: str) -> None:
    """By trying each way to divide the name among them, none of these would ever end."""
    for count in (20, 200):
        pattern = part * count
        assert matcher(pattern)("a" * 2 * count)
        assert not matcher(f"{pattern}c")("a" * 2 * count)


@pytest.mark.parametrize("parts", [["**", "a"] * 40 + ["b"], ["*"] * 80, ["**"] * 80 + ["b"]])
def test_each_name_is_compared_with_each_part_at_most_once(
    parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[str, str]] = []

    def counting(part: str) -> Callable[[str], object]:
        def is_match(name: str) -> object:
            compared.append((part, name))
            return re.fullmatch(part.replace("*", ".*"), name)

        return is_match

    monkeypatch.setattr(wildcards, "_segment", counting)
    for length in (20, 40, 80):
        compared.clear()
        matches(parts, ["a"] * length)
        assert len(compared) <= len(parts) * length


def test_what_a_pattern_finds_on_a_disk(tmp_path: Path) -> None:
    for name in ("a/x.png", "a/b/y.png", ".hidden/z.png", "a/.w.png", "d.png/e.txt"):
        storage.write_bytes(f"{tmp_path}/{name}", b"x")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    found = {
        "*/*.png": ["a/x.png"],
        ".*/*.png": [".hidden/z.png"],
        "a/**": ["a/b/y.png", "a/x.png"],
        "**/y.png": ["a/b/y.png"],
        "*": [],
        "*.png": [],
    }
    for pattern, expected in found.items():
        assert storage.glob(str(tmp_path), pattern) == expected


@pytest.mark.parametrize(
    ("pattern", "folder", "expected"),
    [
        ("*.png", "a", False),
        ("*/*.png", "a", True),
        ("a*/*.png", "b", False),
        ("*/*.png", "a/b", False),
        ("**/a.png", "x/y", True),
        ("a/**", "a/b/c", True),
        ("a/**", "b", False),
        ("a/**/b*/c", "a/x/b", True),
        ("a/**/b*/c", "x/b", False),
    ],
)
def test_what_a_pattern_may_match_in_a_folder(pattern: str, folder: str, expected: bool) -> None:
    assert may_match_below(pattern.split("/"), folder.split("/")) == expected


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.lists(st.sampled_from(["a", "*", "**"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b"]), min_size=2, max_size=5),
)
def test_what_matches_is_in_folders_that_a_pattern_may_match_in(
    parts: list[str], names: list[str]
) -> None:
    if matches(parts, names):
        assert all(may_match_below(parts, names[:end]) for end in range(1, len(names)))


def refusing(folders: dict[Path, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system refuse to list these folders, each with its error; root may read any."""
    scan = os.scandir

    def scandir(path: Any) -> Any:
        if (found := folders.get(Path(path))) is not None:
            raise OSError(found, os.strerror(found), os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("pattern", ["*/*.png", "**/*.png", "in/*.png", "?n/x.png"])
def test_a_folder_that_cannot_be_read_is_not_left_out_of_a_pattern(
    error: int, pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("in/x.png", "other/y.png"):
        storage.write_bytes(f"{tmp_path}/{name}", b"x")
    refusing({tmp_path / "in": error}, monkeypatch)
    with pytest.raises(StorageError) as caught:
        storage.glob(str(tmp_path), pattern)
    assert str(caught.value).startswith(f"cannot list {tmp_path}/in: {os.strerror(error)}")


def test_folders_that_a_pattern_does_not_need_may_be_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("in/x.png", "in/deep/z.png", "other/y.png", ".hidden/w.png", "lost+found/v.png")
    for name in names:
        storage.write_bytes(f"{tmp_path}/{name}", b"x")
    refused = {tmp_path / name: errno.EACCES for name in ("in/deep", ".hidden", "lost+found")}
    refusing({**refused, tmp_path / "other": errno.ENOENT}, monkeypatch)
    # Another process has removed `other` meanwhile.
    assert storage.glob(str(tmp_path), "*/*.png") == ["in/x.png"]
    assert storage.glob(str(tmp_path), "i*/*.png") == ["in/x.png"]
    with pytest.raises(StorageError, match=r"cannot list .*/in/deep: "):
        storage.glob(str(tmp_path), "**/*.png")


def test_a_file_whose_name_is_the_pattern_itself_is_found_below_folders(tmp_path: Path) -> None:
    storage.write_bytes(f"{tmp_path}/x/[a]*/b[1].png", b"x")
    assert storage.glob(str(tmp_path), "*/[a]*/b[1].png") == []
    assert storage.glob(str(tmp_path), "x/[a]*/b[1].png") == ["x/[a]*/b[1].png"]
