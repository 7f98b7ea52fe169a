"""Processes that end (86 to 94)."""

from tests.catalogue import Case

CASES: tuple[Case, ...] = ()
