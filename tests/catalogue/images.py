"""Pictures (41 to 58)."""

from tests.catalogue import Case

CASES: tuple[Case, ...] = ()
