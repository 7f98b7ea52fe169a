"""A run's progress as an artifact that Prefect's UI shows and that changes during the run."""

import time
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from nst.output import Outcome
from nst.planning import Group, Plan
from nst.running import NoListener, Tally
from nst_flows.telling import Teller

# Nobody looks at a run of hours every few seconds.
EVERY_S = 5.0
_EVERY_SHARE = 0.01
# How long the end of a run may wait for the server to take the last progress.
_LAST_S = 20.0


class ProgressArtifact(NoListener):
    """A listener that counts, and keeps the artifact up to date by `teller`, which holds nobody up."""

    def __init__(self, key: str, teller: Teller | None = None) -> None:
        self._key = key
        self.teller = teller or Teller()
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
        self._started_at = time.monotonic()
        self._show(self._words())

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
        self.teller.wait(_LAST_S)

    def _show(self, words: str) -> None:
        self._shown_at = time.monotonic()
        if self._tally is None:
            return
        share = self._tally.share * 100
        self.teller.tell("progress", lambda: self._put(share, words))

    def _put(self, share: float, words: str) -> None:
        if self._artifact is not None:
            update_progress_artifact(self._artifact, share, description=words)
            return
        made = create_progress_artifact(share, key=self._key, description=words)
        # Prefect types it as if it might be asynchronous; here it is not.
        self._artifact = cast(UUID, made)

    def _words(self) -> str:
        assert self._tally is not None
        failed = f"{self.num_failed} failed" if self.num_failed else ""
        said = (self._tally.pictures, failed, self._tally.speed, self._tally.left)
        return ", ".join(filter(None, said))
