"""Weights and settings (59 to 68)."""

from tests.catalogue import Case

CASES: tuple[Case, ...] = ()
