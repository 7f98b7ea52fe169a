"""How a run gets on, as an artifact that Prefect's UI shows and that moves while it runs."""

import logging
import time
from typing import cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from nst.output import Outcome
from nst.planning import Group, Plan
from nst.running import NoListener, Tally

# Of a run of hours nobody looks every few seconds.
EVERY_S = 5.0
_EVERY_SHARE = 0.01

_log = logging.getLogger(__name__)


class ProgressArtifact(NoListener):
    """A listener that keeps the artifact up to date, and counts.

    A server that does not take it costs the artifact, and nothing of the run.
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
        """How many there were to make, or 0 as long as nothing is planned."""
        return self._tally.num_pictures if self._tally is not None else 0

    @property
    def seconds(self) -> float:
        """Since the run was planned."""
        return time.monotonic() - self._started_at

    def planned(self, plan: Plan) -> None:
        self._tally = Tally(plan)
        self._started_at = self._shown_at = time.monotonic()
        try:
            made = create_progress_artifact(
                self._tally.share * 100, key=self._key, description=self._words()
            )
        except httpx.HTTPError as exc:
            _log.warning("there is no progress to be seen, the Prefect server said: %s", exc)
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
        """Nothing more will come; `words` say how that came about."""
        self._show(words)

    def _show(self, words: str) -> None:
        self._shown_at = time.monotonic()
        if self._artifact is None or self._tally is None:
            return
        try:
            update_progress_artifact(self._artifact, self._tally.share * 100, description=words)
        except httpx.HTTPError as exc:
            _log.warning("the progress was not shown, the Prefect server said: %s", exc)

    def _words(self) -> str:
        assert self._tally is not None
        failed = f"{self.num_failed} failed" if self.num_failed else ""
        said = (self._tally.pictures, failed, self._tally.speed, self._tally.left)
        return ", ".join(filter(None, said))
