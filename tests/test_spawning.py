"""The process that paints, which is started before the command has come so far."""

import os
import signal
from collections.abc import Iterator

import pytest

from nst.__main__ import paints_apart
from nst.running import spawning
from nst.running.neighbours import Neighbours

TOLD = {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(spawning, "ENTRY", "tests.idle")
    monkeypatch.setattr(Neighbours, "environment", lambda _: TOLD)
    yield
    spawning.end_early()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("run m.csv --output out", True),
        ("run a.png b.png -o out.png --keep-every 5", True),
        ("run m.csv --output out --no-isolate", False),
        ("run m.csv --output out --lanes 2", False),
        ("run m.csv --output out --lanes=2", False),
        ("run m.csv --output out --prefect", False),
        ("run --help", False),
        ("run", False),
        ("plan m.csv", False),
        ("verify out", False),
        ("status run", False),
        ("--help", False),
        ("", False),
    ],
)
def test_it_is_started_early_where_a_command_paints_in_one_such_process(
    words: str, expected: bool
) -> None:
    assert paints_apart(words.split()) is expected


def test_one_that_was_started_early_is_taken_once_and_told_once() -> None:
    spawning.start_early()
    early = spawning.take_early("tests.idle", None)
    assert early is not None
    assert spawning.take_early("tests.idle", None) is None
    try:
        receive = early.spawned.connection.recv
        assert [receive() for _ in range(3)] == [[True, True, True], [], TOLD]
        early.tell()
        assert not early.spawned.connection.poll(0)
    finally:
        early.spawned.kill()


@pytest.mark.parametrize(("entry", "num_threads"), [("tests.idle", 2), ("tests.poison", None)])
def test_one_that_is_another_than_is_wanted_is_ended(entry: str, num_threads: int | None) -> None:
    spawning.start_early()
    assert spawning._early is not None
    process = spawning._early.spawned.process
    assert spawning.take_early(entry, num_threads) is None
    assert process.poll() == -signal.SIGKILL
    assert spawning.take_early("tests.idle", None) is None


def test_one_that_nobody_takes_is_ended() -> None:
    spawning.start_early()
    assert spawning._early is not None
    process = spawning._early.spawned.process
    spawning.end_early()
    assert process.poll() == -signal.SIGKILL
    spawning.end_early()


def test_no_signal_reaches_it_and_whoever_starts_it_loses_none() -> None:
    """A terminal sends Ctrl-C to both, and the process may be at its first line."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    made = spawning.spawn("tests.idle", None)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(made.process.pid, number)
        assert made.connection.recv() == [True, True, True]
    finally:
        made.kill()


def test_a_machine_that_starts_none_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> spawning.Spawned:
        raise BlockingIOError

    monkeypatch.setattr(spawning, "spawn", refused)
    spawning.start_early()
    assert spawning.take_early("tests.idle", None) is None


def test_one_whose_neighbours_cannot_be_seen_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[spawning.Spawned] = []
    spawn = spawning.spawn

    def remembered(entry: str, num_threads: int | None) -> spawning.Spawned:
        made.append(spawn(entry, num_threads))
        return made[0]

    def refused(_: Neighbours) -> None:
        raise PermissionError("/proc/stat")

    monkeypatch.setattr(spawning, "spawn", remembered)
    monkeypatch.setattr(Neighbours, "__init__", refused)
    spawning.start_early()
    assert spawning._early is None
    assert made[0].process.poll() == -signal.SIGKILL
