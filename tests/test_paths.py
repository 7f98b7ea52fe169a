from dataclasses import replace

import pytest

from nst import output
from tests.test_metadata import FAILED, OK

DIGEST = "abcdef0123456789" + "0" * 48


def test_thumbnails_are_named_by_the_digest_of_their_picture() -> None:
    stem = output.thumbnail_stem(DIGEST)
    assert stem == "thumbs/ab/abcdef0123456789"
    assert output.thumbnail_paths(stem, 600, 800) == {
        256: "thumbs/ab/abcdef0123456789-256.webp",
        512: "thumbs/ab/abcdef0123456789-512.webp",
    }


@pytest.mark.parametrize(
    ("height", "width", "edges"),
    [(192, 256, [256]), (256, 192, [256]), (193, 257, [256, 512]), (257, 9, [256, 512])],
)
def test_a_second_thumbnail_is_for_what_does_not_fit_the_first(
    height: int, width: int, edges: list[int]
) -> None:
    assert list(output.thumbnail_paths("thumbs/ab/c", height, width)) == edges


def test_only_what_was_made_has_thumbnails() -> None:
    made = replace(OK, picture_digest=DIGEST)
    assert list(output.thumbnails_of(made).values()) == ["thumbs/ab/abcdef0123456789-256.webp"]
    assert output.thumbnails_of(replace(FAILED, height=48, width=64)) == {}
    assert output.thumbnails_of(replace(made, picture_digest=None)) == {}


def test_previews_lie_beside_each_other() -> None:
    assert output.preview_name(DIGEST) == "abcdef0123456789.jpg"
    assert output.small_preview_name(DIGEST) == "abcdef0123456789-256.webp"
