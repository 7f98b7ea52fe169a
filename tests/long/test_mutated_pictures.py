"""The whole of P14: thousands of damaged pictures, none of which may do harm."""

from collections import Counter
from pathlib import Path

import pytest

from nst.errors import ImageError
from nst.pictures import images
from tests.decode_mutated import EXTREMES
from tests.mutated import decode_mutated, originals

_HEADER_BYTES = 128


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_thousand_damaged_pictures_do_no_harm(tmp_path: Path, seed: int) -> None:
    results = decode_mutated(tmp_path, 1000, seed=seed)
    assert len(results) == 1000
    reasons = Counter(result.reason for result in results)
    assert set(reasons) <= {
        None,
        "not_an_image",
        "image_truncated",
        "image_unreadable",
        "image_unsupported",
        "image_too_large",
    }
    # Damage is found out far more often than not.
    assert reasons[None] < reasons.total() / 2


@pytest.mark.parametrize("kind", originals())
def test_an_extreme_number_anywhere_in_a_header_is_an_error_or_a_size(kind: str) -> None:
    data = originals()[kind]
    num_errors = 0
    for at in range(min(_HEADER_BYTES, len(data))):
        for number in EXTREMES:
            damaged = data[:at] + number + data[at + len(number) :]
            images.size_by_start(damaged[:-1], name="it")
            try:
                height, width = images.probe_size(damaged, name="it")
                assert height > 0
                assert width > 0
            except ImageError:
                num_errors += 1
    assert num_errors
