"""What a row says (20 to 40)."""

from tests.catalogue import Case

CASES: tuple[Case, ...] = ()
