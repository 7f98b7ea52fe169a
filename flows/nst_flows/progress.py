"""A run's progress as an artifact that Prefect's UI shows and that changes during the run."""

import logging
import time
from typing import cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from nst.output import Outcome
from nst.planning import Group, Plan
from nst.running import NoListener, Tally

# Nobody looks at a run of hours every few seconds.
EVERY_S = 5.0
_EVERY_SHARE = 0.01

_log = logging.getLogger(__name__)


class ProgressArtifact(NoListener):
    """A listener that counts, and keeps the artifact up to date.

    If the server refuses the artifact, the run continues without it.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self.num_made = 0
        self.num_failed = 0
        self._tally: Tally | None = None
        self._artifact: UUID | None = None
        self._started_at = self._shown_at = time.monotonic()

    @property
    def num_pictures(self) -> int:
        """The number of pictures to make; 0 before the plan."""
        return self._tally.num_pictures if self._tally is not None else 0

    @property
    def seconds(self) -> float:
        """Seconds since the plan."""
        return time.monotonic() - self._started_at

    def planned(self, plan: Plan) -> None:
        self._tally = Tally(plan)
        self._started_at = self._shown_at = time.monotonic()
        try:
            made = create_progress_artifact(
                self._tally.share * 100, key=self._key, description=self._words()
            )
        except httpx.HTTPError as exc:
            _log.warning("the progress cannot be shown, the Prefect server said: %s", exc)
        else:
            # Prefect types it as if it might be asynchronous; here it is not.
            self._artifact = cast(UUID, made)

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        assert self._tally is not None
        self._tally.advanced(group, evaluations, pictures)
        if time.monotonic() - self._shown_at >= max(EVERY_S, _EVERY_SHARE * self.seconds):
            self._show(self._words())

    def recorded(self, group: Group, outcome: Outcome) -> None:
        self.num_made += outcome.status == "ok"
        self.num_failed += outcome.status == "failed"

    def ended(self, words: str) -> None:
        """Show the last progress, with `words` that say how the run ended."""
        self._show(words)

    def _show(self, words: str) -> None:
        self._shown_at = time.monotonic()
        if self._artifact is None or self._tally is None:
            return
        try:
            update_progress_artifact(self._artifact, self._tally.share * 100, description=words)
        except httpx.HTTPError as exc:
            _log.warning("the progress was not updated, the Prefect server said: %s", exc)

    def _words(self) -> str:
        assert self._tally is not None
        failed = f"{self.num_failed} failed" if self.num_failed else ""
        said = (self._tally.pictures, failed, self._tally.speed, self._tally.left)
        return ", ".join(filter(None, said))
