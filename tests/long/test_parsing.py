"""Manifests of very many bytes."""

import hypothesis.strategies as st
from hypothesis import given, settings

from tests.test_parsing import HEAD, LINES, MANY, SUFFIXES, check_any_bytes


@settings(MANY, max_examples=20_000)
@given(SUFFIXES, st.binary() | LINES | LINES.map(lambda line: HEAD + line))
def test_very_many_bytes_are_jobs_or_a_refusal(suffix: str, data: bytes) -> None:
    check_any_bytes(suffix, data)
