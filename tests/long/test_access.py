"""What may be read, for very many texts."""

from hypothesis import given, settings

from tests.test_access import (
    MANY,
    REFERENCES,
)
from tests.test_access import (
    test_what_passes_lies_in_a_root_as_the_store_sees_it as holds,
)


@settings(MANY, max_examples=20_000)
@given(REFERENCES)
def test_what_passes_lies_in_a_root_for_very_many_texts(reference: str) -> None:
    holds.hypothesis.inner_test(reference)  # type: ignore[attr-defined]
