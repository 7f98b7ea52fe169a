"""How threads that paint wait for each other, by what other programs take of the processors."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nst.running import neighbours
from nst.running.neighbours import Neighbours, Sample, others

ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}


class Machine:
    """A clock and processors that run as they are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sample = Sample(clock_s=1000, busy_s=500, own_s=20)
        for name in neighbours._SETTINGS:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(Sample, "now", lambda: self.sample)
        monkeypatch.setattr("time.monotonic", lambda: self.sample.clock_s)
        monkeypatch.setattr("time.sleep", lambda seconds: self.runs(seconds, **self.load))
        self.load = {"ours": 0.0, "theirs": 0.0}

    def runs(self, seconds: float, *, ours: float, theirs: float) -> None:
        self.load = {"ours": ours, "theirs": theirs}
        clock, busy, own = self.sample.clock_s, self.sample.busy_s, self.sample.own_s
        self.sample = Sample(
            clock + seconds, busy + (ours + theirs) * seconds, own + ours * seconds
        )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_threads_spin_on_an_idle_machine_and_sleep_beside_other_programs(machine: Machine) -> None:
    machine.load = {"ours": 1.0, "theirs": 0.1}
    assert Neighbours().environment() == {}
    machine.load = {"ours": 1.0, "theirs": 0.9}
    assert Neighbours().environment() == ASLEEP


def test_it_is_looked_at_again_once_in_a_while_and_ours_is_no_neighbour(machine: Machine) -> None:
    found = Neighbours()
    assert found.environment() == {}
    machine.runs(30, ours=0, theirs=2)
    assert not found.have_changed(), "too soon"
    machine.runs(600, ours=2, theirs=0)
    assert not found.have_changed()
    machine.runs(61, ours=1, theirs=1)
    assert found.have_changed()
    assert found.environment() == ASLEEP
    machine.runs(61, ours=1, theirs=1)
    assert not found.have_changed()
    machine.runs(61, ours=2, theirs=0)
    assert found.have_changed()
    assert found.environment() == {}


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_whoever_has_set_it_knows_better(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    machine.load = {"ours": 0.0, "theirs": 2.0}
    found = Neighbours()
    monkeypatch.setenv(name, "0")
    assert found.environment() == {}
    machine.runs(600, ours=0, theirs=2)
    assert not found.have_changed()


def test_what_a_process_of_ours_takes_is_ours_also_once_it_has_ended() -> None:
    """By this machine's own counters: of a child that computes, in its life and after."""
    before = Sample.now()
    with computing() as child:
        during = Sample.now()
        child.communicate(b"\n")
    after = Sample.now()
    assert during.own_s - before.own_s > 0.2
    # The system counts the living in ticks and the ended more finely.
    assert after.own_s > during.own_s - 0.1
    assert after.busy_s > before.busy_s
    assert others(before, after) >= 0


@contextmanager
def computing() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has computed for a quarter of a second, and waits for a line."""
    code = (
        "import sys, time\n"
        "while time.process_time() < 0.25: pass\n"
        "print(flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
