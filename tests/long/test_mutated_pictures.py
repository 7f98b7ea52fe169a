"""The whole of P14: a thousand damaged pictures, none of which may do harm."""

from collections import Counter
from pathlib import Path

import pytest

from tests.mutated import decode_mutated


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
