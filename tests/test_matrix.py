"""A matrix of named pictures as the text of a manifest, and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst.manifest.matrix import Matrix, of_text, to_text
from nst.manifest.rows import read_rows
from nst.storage.stores import escaped


def matrix(**values: object) -> Matrix:
    given: dict[str, object] = {
        "contents": ("/in/a.jpg", "/in/b.jpg"),
        "styles": ("/in/s.jpg",),
        "backbones": ("vgg19",),
        "params": {},
    }
    return Matrix(**given | values)  # type: ignore[arg-type]


def cells(data: bytes) -> list[dict[str, object]]:
    """What the reader of manifests makes of it, where no pattern may be left to expand."""

    def glob(pattern: str) -> list[str]:
        raise AssertionError(pattern)

    return [dict(row.cells) for row in read_rows("manifest.yaml", data, glob).rows]


def test_the_rows_are_all_combinations() -> None:
    wanted = matrix(styles=("/in/s.jpg", "/in/t.jpg"), params={"size": "64"})
    found = cells(to_text(wanted))
    assert len(found) == wanted.num_rows == 4
    assert found[1] == {
        "content": "/in/a.jpg", "style": "/in/t.jpg", "backbone": "vgg19", "size": "64",
    }  # fmt: skip


NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("*?[]#: '\"-"), min_size=1
).map(lambda name: f"/{name}.jpg")


@settings(deadline=None, max_examples=60)
@given(NAMES)
def test_every_name_of_a_file_is_read_as_it_is(name: str) -> None:
    wanted = matrix(contents=(escaped(name),))
    assert cells(to_text(wanted))[0]["content"] == name
    assert of_text(to_text(wanted)) == wanted


def test_what_a_person_has_changed_is_no_longer_taken_for_what_was_written() -> None:
    data = to_text(matrix(params={"size": "64"}))
    assert of_text(data) == matrix(params={"size": "64"})
    for changed in (
        data + b"seed: 3\n# mine\n",
        data.replace(b"  - /in/b.jpg\n", b""),
        data.replace(b"size: 64", b"size: [64, 96]"),
        b"content: [a]\nstyle: [b]\n",
        b"\xff",
        b"",
    ):
        assert of_text(changed) is None


@pytest.mark.parametrize(
    ("values", "covers"),
    [
        ({}, True),
        ({"contents": ("/in/a.jpg",)}, True),
        ({"contents": ("/in/c.jpg",)}, False),
        ({"backbones": ("vgg16",)}, False),
        ({"params": {"size": "64"}}, False),
    ],
)
def test_a_matrix_covers_another_whose_rows_it_has(values: dict[str, object], covers: bool) -> None:
    assert matrix().covers(matrix(**values)) is covers
