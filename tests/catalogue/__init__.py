"""Bad input and bad luck, case by case, under the numbers that the promises of docs/OPERATE.md refer to.

A case observes what becomes of one thing gone wrong, as a user would: from the exit status, the
output and the metadata. Its letter says what is to become of it:

- R   its row fails with a reason, and the others go on; exit status 3
- A   refused before any work, with what was expected and what was found; exit status 2, or 1
      where a store is at fault
- OK  it works; exit status 0
- S   the run stops early and clearly, and nothing that was finished is lost; exit status 1
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from typer.testing import CliRunner

from nst.cli import app
from nst.output import metadata
from nst.output.metadata import Record
from tests.helpers import csv_bytes, row, write_project

Letter = Literal["R", "A", "OK", "S"]
_LETTERS: Mapping[int, Letter] = {0: "OK", 1: "S", 2: "A", 3: "R"}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run left behind: its exit status, all it printed, and its metadata where there is any."""

    exit_status: int
    printed: str
    records: Sequence[Record]

    @property
    def letter(self) -> Letter:
        """What became of it, by its exit status and by what it left."""
        assert "Traceback" not in self.printed, self.printed
        letter = _LETTERS[self.exit_status]
        if letter == "A":
            assert not self.records, "refused, and yet there is metadata"
        if letter in ("OK", "R"):
            good = [r.outcome for r in self.records if r.outcome.id == "good"]
            assert all(outcome.status == "ok" for outcome in good), "the good row went with it"
        return letter

    def reason(self, row_id: str = "bad") -> str | None:
        """Why the row of this id failed."""
        (record,) = (r for r in self.records if r.outcome.id == row_id)
        return record.outcome.reason


@dataclass(frozen=True, slots=True)
class Bench:
    """A folder `inputs` with pictures (see `write_project`), and the command to run on it."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    @property
    def inputs(self) -> Path:
        return self.folder / "in"

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def run(self, rows: Sequence[Mapping[str, object]], *arguments: str) -> Seen:
        """`nst run` on these rows, as CSV, and a row `good` before them."""
        return self.run_file("manifest.csv", csv_bytes([good(), *rows]), *arguments)

    def run_file(self, name: str, data: bytes, *arguments: str) -> Seen:
        """`nst run` on a manifest file of these bytes."""
        write_project(self.inputs, [])
        (self.inputs / name).write_bytes(data)
        return self.nst(
            "run", str(self.inputs / name), "--output", str(self.output), "--no-isolate", *arguments
        )

    def nst(self, *arguments: str) -> Seen:
        """The command as typed, in this process."""
        done = CliRunner().invoke(app, list(arguments))
        assert "an unexpected error ended nst" not in done.stderr, done.stderr
        path = self.output / "metadata.parquet"
        records = metadata.metadata_from_parquet(path.read_bytes()) if path.exists() else []
        return Seen(done.exit_code, done.output, records)


def good() -> dict[str, object]:
    """A row that has nothing wrong with it and is quick to make."""
    return row(id="good", size=48, steps=1)


def bad(**cells: object) -> dict[str, object]:
    """A row that is quick to make but for what `cells` say."""
    return row(**({"id": "bad", "size": 48, "steps": 1} | cells))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that goes wrong. `observe` brings it about and says what became of it.

    `letter` is what is to become of it.
    """

    number: int
    letter: Letter
    name: str
    observe: Callable[[Bench], Letter]
