"""Manifest files (1 to 19)."""

from tests.catalogue import Case

CASES: tuple[Case, ...] = ()
