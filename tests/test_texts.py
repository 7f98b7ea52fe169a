import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nst.gallery.texts import (
    chip_text,
    natural_key,
    number_text,
    readable,
    shown_reference,
    shown_sentence,
    shown_text,
    told_apart,
)
from nst.wording import visible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.jpg", "a.jpg"),
        ("pics/a.jpg", "pics/a.jpg"),
        ("../pics/a.jpg", "../pics/a.jpg"),
        ("/home/me/pics/a.jpg", "…/pics/a.jpg"),
        ("/home/me/my pics/a b.jpg", "…/my pics/a b.jpg"),
        ("/home/me/a.jpg", "…/a.jpg"),
        ("/Users/me/a.jpg", "…/a.jpg"),
        ("/root/a.jpg", "…/a.jpg"),
        ("/tmp/a.jpg", "…/tmp/a.jpg"),
        ("/a.jpg", "/a.jpg"),
        ("C:\\Users\\me\\pics\\a.jpg", "…\\pics\\a.jpg"),
        ("C:\\Users\\me\\a.jpg", "…\\a.jpg"),
        ("c:/data/sets/a.jpg", "…\\sets\\a.jpg"),
        ("\\\\server\\share\\pics\\a.jpg", "…\\pics\\a.jpg"),
        ("file:///home/me/pics/a%20b.jpg", "…/pics/a b.jpg"),
        ("s3://bucket/a/b/c.png", "s3://bucket/a/b/c.png"),
        ("s3://AKIDEXAMPLE:wJal/rXU+tn@bucket/a b.png", "s3://bucket/a b.png"),
        ("https://me@host/a.png?token=abc&v=1", "https://host/a.png"),
        ("https://host/a b.png?X-Amz-Signature=0f", "https://host/a b.png"),
        ("/home/me/x/a.jpg | /home/me/y/b.jpg", "…/x/a.jpg | …/y/b.jpg"),
        ("a\u202egpj.exe", "a\\u202egpj.exe"),
        ("a\x00\n\x7f\u2028b", "a\\u0000\\u000a\\u007f\\u2028b"),
    ],
)
def test_references_are_told_without_folders_users_and_queries(text: str, expected: str) -> None:
    assert shown_reference(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "cannot read /home/me/my pics/none.png: there is no such file",
            "cannot read …/my pics/none.png: there is no such file",
        ),
        ("moved /a/b/x.png to /c/d/y.png", "moved …/b/x.png to …/d/y.png"),
        ("found '/home/me/pics/a.png'", "found '…/pics/a.png'"),
        (
            "cannot read https://u:p@host/a.png?sig=1: refused",
            "cannot read https://host/a.png: refused",
        ),
        ("Credential=***, Signature=***", "***, ***"),
        ("read file:///home/me/pics/a.png, then", "read …/pics/a.png, then"),
        ("found C:\\Users\\me\\pics\\a.png: no", "found …\\pics\\a.png: no"),
        ("1/2 of it, n/a, and/or", "1/2 of it, n/a, and/or"),
        ("3 m/s", "3 m/s"),
        ("s3://bucket/a/b.png: refused", "s3://bucket/a/b.png: refused"),
    ],
)
def test_paths_in_sentences_are_shortened(text: str, expected: str) -> None:
    assert shown_text(text) == expected


def test_a_sentence_of_several_lines_becomes_one() -> None:
    assert shown_sentence("no\n\tspace\u202e") == "no space\\u202e"
    assert shown_text("no\nspace") == "no\\u000aspace"


@given(st.text(max_size=60))
def test_nothing_that_is_shown_is_invisible_or_turns_text_round(text: str) -> None:
    for function in (shown_text, shown_sentence, shown_reference, readable, visible):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]",
                             function(text))  # fmt: skip


@given(
    st.lists(st.sampled_from(["home", "srv", "my pics", "x-1", "Zoë"]), min_size=3, max_size=6),
    st.sampled_from(["a.png", "b c.jpg"]),
)
def test_of_a_path_no_more_than_its_last_folder_is_shown(folders: list[str], name: str) -> None:
    path = "/" + "/".join([*folders, name])
    for shown in (shown_reference(path), shown_text(f"cannot read {path}: no"), shown_text(path)):
        assert f"/{'/'.join(folders[-2:])}" not in shown
        assert name in shown
        assert "…/" in shown


@given(st.lists(st.sampled_from(["a", "b", "a (2)", ""]), max_size=9))
def test_texts_that_look_alike_are_told_apart(texts: list[str]) -> None:
    made = told_apart(texts)
    assert len(set(made)) == len(texts)
    assert all(new.startswith(old) for new, old in zip(made, texts, strict=True))


def test_very_many_texts_that_look_alike_are_told_apart() -> None:
    """By a search for a free number for each, it would take hours."""
    made = told_apart(["a", "a (2)"] * 50_000)
    assert made[:4] == ["a", "a (2)", "a (3)", "a (2) (2)"]
    assert made[-2:] == ["a (50001)", "a (2) (50000)"]
    assert len(set(made)) == 100_000


def test_digits_are_sorted_by_number_and_case_is_left_out() -> None:
    texts = ["b", "A10", "a9", "a09b", "a9c", "a", "1e10", "C"]
    assert sorted(texts, key=natural_key) == ["1e10", "a", "a9", "a09b", "a9c", "A10", "b", "C"]
    assert natural_key("9" * 5000) < natural_key("1" + "0" * 5000)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("pictures/great-wave.jpg", "great wave"),
        ("a_b--c.tar.png | s/d.jpg", "a b c.tar + d"),
        ("s3://bucket/a%20b.png", "a b"),
        ("x/.png", ".png"),
        ("a%E2%80%AEb.png", "a\\u202eb"),
        ("-", "-"),
    ],
)
def test_references_can_be_read(reference: str, expected: str) -> None:
    assert readable(reference) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [  # as node prints String(n)
        (0, "0"),
        (1.0, "1"),
        (-2.5, "-2.5"),
        (0.0001, "0.0001"),
        (0.00001234, "0.00001234"),
        (0.000001, "0.000001"),
        (1e-7, "1e-7"),
        (1.234e-12, "1.234e-12"),
        (123456789012, "123456789012"),
        (1e20, "100000000000000000000"),
        (1.5e21, "1.5e+21"),
    ],
)
def test_numbers_are_written_as_javascript_writes_them(number: float, expected: str) -> None:
    assert number_text(number) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [  # as node prints Number.isInteger(n) ? String(n) : String(Number(n.toPrecision(3)))
        (0.04312, "0.0431"),
        (0.3125, "0.313"),
        (1.125, "1.13"),
        (2.0, "2"),
        (0.9996, "1"),
        (1234.5, "1230"),
        (0, "0"),
        (1.234e-8, "1.23e-8"),
        (1024, "1024"),
        (123456.0, "123456"),
        (123456.7, "123000"),
    ],
)
def test_chips_have_three_digits_and_whole_numbers_all_of_theirs(
    number: float, expected: str
) -> None:
    assert chip_text(number) == expected


@pytest.mark.parametrize("part", ["a.", "/a ", "/a", "C:\\a ", "://", "a://b ", "'", "|", "0"])
def test_work_grows_with_the_length_of_a_text_and_no_faster(part: str) -> None:
    """Of what takes the square of its length, these would take minutes."""
    # With an end that has it looked at: what is of plain letters alone is told as it stands.
    text = part * (200_000 // len(part)) + "!"
    assert shown_text(text)
    assert shown_reference(text)
    assert natural_key(text)
