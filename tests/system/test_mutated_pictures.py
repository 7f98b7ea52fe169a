"""Pictures that were damaged by chance; thousands are in tests/long."""

from pathlib import Path

from tests.mutated import decode_mutated


def test_damaged_pictures_are_an_error_or_a_picture_and_never_half_of_one(tmp_path: Path) -> None:
    results = decode_mutated(tmp_path, 60, seed=0)
    assert len(results) == 60
    assert {None, "image_truncated", "image_unreadable"} <= {result.reason for result in results}
