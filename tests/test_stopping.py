"""Runs that are asked to stop end after the pictures that are being painted."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace as Namespace
from typing import Any, cast

import pytest

from nst.errors import NSTError, StoppedError
from nst.output.metadata import Outcome
from nst.planning.plan import Group
from nst.running import batch
from nst.running.reports import Listeners
from nst.running.session import InThisProcess, Session, run_in_order
from nst.running.stopping import Stopping
from nst.settings import RunSettings

SAID = "the run was stopped by nst stop, by me"


class Painting:
    """Paints batches of three, of which the first picture cannot be loaded, without painting.

    `asked` is a picture while whose batch is painted somebody asks the run to stop.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, asked: str) -> None:
        self.asked = asked
        self.has_asked = False
        self.painted: list[str] = []
        self.recorded: list[str] = []
        for name in ("load", "paint"):
            monkeypatch.setattr(batch, f"_{name}", getattr(self, name))
        monkeypatch.setattr(batch, "write_all", self.write_all)
        monkeypatch.setattr(batch, "Inputs", lambda *_: None)
        monkeypatch.setattr(
            batch, "_workshop", lambda order: Namespace(order=order, num_encoders=1)
        )
        monkeypatch.setattr(batch, "_num_at_once", lambda _: 3)

    def who(self) -> str | None:
        return "me" if self.has_asked else None

    def load(self, ids: Sequence[str], _: object, shop: Any) -> tuple[Sequence[str], Sequence[str]]:
        shop.order.listener.begun(shop.order.group, ids)
        return ids[1:], ids[:1]

    def paint(self, ids: Sequence[str], shop: Any, *, num_before: int) -> Sequence[str]:
        self.has_asked |= self.asked in ids
        shop.order.listener.advanced(shop.order.group, num_before + 1, num_before)
        self.painted += ids
        shop.order.listener.advanced(shop.order.group, num_before + len(ids), num_before + len(ids))
        return ids

    def write_all(
        self, painted: Sequence[str], failed: Sequence[str], order: Any, *, num_threads: int
    ) -> list[Outcome]:
        assert num_threads == 1
        for name in (*failed, *painted):
            self.recorded.append(name)
            order.listener.recorded(order.group, Outcome(id=name, status="ok"))
        return []

    def run(self, *groups: str) -> Any:
        stopping = Stopping(self.who)
        session = Session(
            painter=InThisProcess(),
            settings=RunSettings(output="/out"),
            listener=Listeners(stopping),
            check=stopping.check,
        )
        made = [Namespace(name=name, jobs=name, weights=None, evaluations=1) for name in groups]
        return run_in_order(cast("list[Group]", made), session)


def test_what_is_painted_when_a_stop_is_asked_for_is_recorded_and_no_other_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where a picture that could not be loaded has its record before those that were painted."""
    painting = Painting(monkeypatch, asked="b")
    report = painting.run("abcdef", "gh")
    assert (painting.painted, painting.recorded) == (list("bc"), list("abc"))
    assert report.errors == {"abcdef": SAID, "gh": SAID}
    assert report.is_stopped


def test_a_group_whose_last_pictures_are_painted_is_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    painting = Painting(monkeypatch, asked="f")
    report = painting.run("abcdef", "gh")
    assert painting.recorded == list("abcdef")
    assert (report.errors, report.is_stopped) == ({"gh": SAID}, True)
    # All was made before anybody could take note.
    report = Painting(monkeypatch, asked="f").run("abcdef")
    assert (report.errors, report.is_stopped) == ({}, False)


def test_another_error_stops_no_run_whatever_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    painting = Painting(monkeypatch, asked="-")

    def broken(*_: object, **__: object) -> None:
        raise NSTError(SAID)

    monkeypatch.setattr(batch, "write_all", broken)
    report = painting.run("abcdef")
    assert (report.errors, report.is_stopped) == ({"abcdef": SAID}, False)
    assert not (report + report).is_stopped
    assert (report + replace(report, is_stopped=True)).is_stopped


def test_nothing_stops_unasked() -> None:
    stopping = Stopping(lambda: None)
    stopping.check()
    with pytest.raises(StoppedError, match="by nst stop, by me"):
        Stopping(lambda: "me").check()
