import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst import storage
from nst.storage import wildcards
from nst.storage.wildcards import matcher, matches


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
