"""Stores that fail (69 to 85)."""

from tests.catalogue import Case

CASES: tuple[Case, ...] = ()
