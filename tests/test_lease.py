import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nst import storage
from nst.errors import ConfigError, NotFoundError, NSTError, RunEndedError
from nst.running import lease
from nst.running.silence import Silence
from nst.storage import files, s3


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(lease, "PATIENCE_S", 0.5)


def claim(folder: Path, token: str = "0" * 16, **values: object) -> Path:
    """The lock of somebody else, on a machine of which nothing is known here."""
    path = folder / f"locks/{token}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {
        "token": token,
        "number": 1,
        "beat": 0,
        "host": "elsewhere",
        "pid": 1,
        "processes": "another boot",
        "process_started": "1",
        "since": "2026-01-01T00:00:00+00:00",
    }
    path.write_text(json.dumps(said | values))
    return path


def test_holds_and_lets_go(tmp_path: Path) -> None:
    with lease.held(str(tmp_path)) as held:
        assert len(list((tmp_path / "locks").iterdir())) == 1
        assert not held.took_over
    assert list((tmp_path / "locks").iterdir()) == []


def test_lets_go_when_what_it_is_held_for_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), lease.held(str(tmp_path)):
        raise KeyboardInterrupt
    assert list((tmp_path / "locks").iterdir()) == []


def test_a_second_run_is_refused_with_who_holds_it(tmp_path: Path) -> None:
    with (
        lease.held(str(tmp_path)),
        pytest.raises(ConfigError, match=r"expected to be the only run here, found one of process"),
        lease.held(str(tmp_path)),
    ):
        pass
    assert list((tmp_path / "locks").iterdir()) == []


def test_one_of_another_machine_is_alive_while_its_file_changes(tmp_path: Path) -> None:
    ends = threading.Event()

    def live() -> None:
        beat = 0
        while not ends.wait(0.02):
            beat += 1
            storage.write_bytes(str(claim_path), json.dumps(said | {"beat": beat}).encode())

    claim_path = claim(tmp_path)
    said = json.loads(claim_path.read_text())
    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(ConfigError, match="on elsewhere since"), lease.held(str(tmp_path)):
            pass
    finally:
        ends.set()
        thread.join()
    assert claim_path.exists()


@pytest.mark.parametrize("number", [1, None])
def test_one_of_another_machine_is_dead_when_its_file_stays(
    tmp_path: Path, number: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = claim(tmp_path, number=number)
    with lease.held(str(tmp_path)) as held:
        assert held.took_over
        assert not path.exists()
    assert "process 1 on elsewhere ended without releasing its lock" in caplog.text


@pytest.mark.parametrize("num_dead", [1, 5, 40])
def test_many_dead_ones_of_other_machines_are_waited_for_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_dead: int
) -> None:
    now = [0.0]
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(lease.Lease, "_beat", lambda self: None)
    monkeypatch.setattr(lease, "Silence", lambda every_s: Silence(every_s, lambda: now[0]))
    for number in range(num_dead):
        claim(tmp_path, token=f"dead-{number}", number=number + 1)
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", nap)
        with lease.held(str(tmp_path)) as held:
            assert held.took_over
            assert len(list((tmp_path / "locks").iterdir())) == 1
    assert sum(naps) == pytest.approx(lease.PATIENCE_S + lease.HEARTBEAT_S / 5, abs=0.021)


def test_one_that_is_alive_is_told_before_dead_ones_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "PATIENCE_S", 3600)
    claim(tmp_path, token="a-dead-one")
    own: dict[str, Any] = {"pid": os.getpid(), "processes": lease._processes()}
    claim(tmp_path, token="b", **own, process_started=lease._started(os.getpid()))
    with pytest.raises(ConfigError, match="the only run here"), lease.held(str(tmp_path)):
        pass


def test_a_dead_process_of_this_machine_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "PATIENCE_S", 3600)
    claim(tmp_path, pid=2**22 + 1, processes=lease._processes())
    with lease.held(str(tmp_path)) as held:
        assert held.took_over


def test_a_number_that_another_process_uses_again_is_no_match(tmp_path: Path) -> None:
    claim(tmp_path, pid=os.getpid(), processes=lease._processes(), process_started="0")
    with lease.held(str(tmp_path)) as held:
        assert held.took_over


@pytest.mark.parametrize("after_a_dead_one", [False, True])
def test_of_many_that_come_at_once_at_most_one_gets_in(
    tmp_path: Path, after_a_dead_one: bool
) -> None:
    if after_a_dead_one:
        claim(tmp_path)
    inside: list[int] = []
    most = 0
    outcomes: list[str] = []
    lock = threading.Lock()

    def attempt(n: int) -> None:
        nonlocal most
        try:
            with lease.held(str(tmp_path)):
                with lock:
                    inside.append(n)
                    most = max(most, len(inside))
                time.sleep(0.3)
                with lock:
                    inside.remove(n)
                    outcomes.append("in")
        except ConfigError:
            outcomes.append("refused")

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert len(outcomes) == 8
    assert "in" in outcomes
    assert list((tmp_path / "locks").iterdir()) == []


def test_who_was_taken_for_dead_learns_of_it(tmp_path: Path) -> None:
    with lease.held(str(tmp_path)) as held:
        held.check()
        (path,) = (tmp_path / "locks").iterdir()
        path.unlink()
        until = time.monotonic() + 10
        while not held._is_lost:
            assert time.monotonic() < until
            time.sleep(0.01)
        with pytest.raises(NSTError, match="another run took over"):
            held.check()


@pytest.mark.usefixtures("silent")
def test_a_lock_that_is_away_for_a_moment_is_not_lost(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a store that was out of order, and says for a moment that it has no such object."""
    now = lease._now()
    monkeypatch.setattr(lease, "_now", lambda: now)
    naps: list[float] = []
    real = storage.update

    def update(uri: str, change: Callable[[bytes], bytes | None]) -> bool:
        return len(naps) == 3 and real(uri, change)

    with lease.held(output) as held:
        now += 1000
        with monkeypatch.context() as away:
            away.setattr(storage, "update", update)
            away.setattr(storage, "read_bytes", missing)
            away.setattr(time, "sleep", naps.append)
            held.check()
        held.check()
    assert len(naps) == 3


def missing(uri: str) -> bytes:
    raise NotFoundError(uri)


def test_a_lock_that_is_none_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    for number, text in enumerate(["{", "", "7", "[]", "null", "[" * 100_000, "\udcff"]):
        path = tmp_path / f"locks/junk-{number}.json"
        path.write_bytes(text.encode(errors="surrogateescape"))
    with lease.held(str(tmp_path)) as held:
        assert not held.took_over


@pytest.mark.parametrize(
    "value",
    [
        {"number": "7"},
        {"number": 7.5},
        {"number": -1},
        {"number": 10**4200},
        {"number": [1]},
        {"beat": None},
        {"beat": 10**4200},
        {"pid": "one"},
        {"host": 1},
        {"token": None},
        {"since": {}},
        {"processes": 1},
        {"process_started": 1.5},
    ],
)
def test_a_lock_of_other_values_than_a_lock_has_is_none(
    tmp_path: Path, value: dict[str, Any]
) -> None:
    claim(tmp_path, **value)
    with lease.held(str(tmp_path)) as held:
        assert not held.took_over


def test_a_lock_that_says_more_than_is_known_here_is_one(tmp_path: Path) -> None:
    """Of a later release, which runs."""
    own: dict[str, Any] = {"pid": os.getpid(), "processes": lease._processes()}
    path = claim(tmp_path, **own, process_started=lease._started(os.getpid()), purpose="to paint")
    with pytest.raises(ConfigError, match="on elsewhere since"), lease.held(str(tmp_path)):
        pass
    assert path.exists()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes a lease renews it only when asked, and is of a machine that is not known here."""
    monkeypatch.setattr(lease.Lease, "_beat", lambda self: None)
    monkeypatch.setattr(lease, "_processes", lambda: "")


@pytest.fixture(params=["disk", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "disk":
        return str(tmp_path)
    return f"{request.getfixturevalue('bucket')}/out"


@pytest.mark.usefixtures("silent")
def test_who_slept_goes_on_where_nobody_took_over(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = lease._now()
    monkeypatch.setattr(lease, "_now", lambda: now)

    def beat(held: lease.Lease) -> int:
        said: dict[str, int] = json.loads(storage.read_bytes(lease._path(output, held.token)))
        return said["beat"]

    with lease.held(output) as held:
        for _ in range(2):
            before = beat(held)
            now += 1000
            held.check()
            assert beat(held) == before + 1
            # It was renewed just now.
            held.check()
            assert beat(held) == before + 1
    assert storage.list_tree(output) == {}


@pytest.mark.usefixtures("silent")
def test_who_slept_ends_where_another_took_over_and_is_done(output: str) -> None:
    with lease.held(output) as held:
        with lease.held(output) as other:
            assert other.took_over
        for _ in range(2):
            with pytest.raises(RunEndedError, match="another run took over"):
                held.check()
    assert storage.list_tree(output) == {}


class Sleeper:
    """A thread that falls asleep at its step of a number, if it gets there, until it is woken."""

    def __init__(self, number: int, work: Callable[[], None]) -> None:
        self.number = number
        self.num_steps = 0
        self.is_asleep = threading.Event()
        self.wakes = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(work,))

    def _run(self, work: Callable[[], None]) -> None:
        work()
        self.is_asleep.set()

    def step(self) -> None:
        """To be called by whatever every thread does."""
        if threading.current_thread() is self.thread:
            self.num_steps += 1
            if self.num_steps == self.number:
                self.is_asleep.set()
                self.wakes.wait()


def at_each_step(monkeypatch: pytest.MonkeyPatch, step: Callable[[], None]) -> None:
    """Call `step` before everything that is read from a store, or written to it."""

    def stepping(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            step()
            return function(*arguments, **options)

        return call

    # An update on a disk reads between these two, and then writes.
    for name in ("read_file", "_lock", "_is_at", "write_file", "delete_file", "files_in"):
        monkeypatch.setattr(files, name, stepping(getattr(files, name)))
    monkeypatch.setattr(s3, "_ask", stepping(s3._ask))


@pytest.mark.usefixtures("silent")
def test_whenever_a_run_falls_asleep_it_and_its_successor_are_not_both_in(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(lease, "PATIENCE_S", 0.2)

    def first() -> None:
        with suppress(ConfigError, RunEndedError), lease.held(output) as held:
            told.append("begins")
            held._renew()
            held.check()
            told.append("ends")

    def second() -> None:
        with suppress(ConfigError, RunEndedError), lease.held(output):
            told.append("successor")

    outcomes: set[str] = set()
    number = 0
    while True:
        number += 1
        told: list[str] = []
        sleeper = Sleeper(number, first)
        with monkeypatch.context() as patch:
            at_each_step(patch, sleeper.step)
            sleeper.thread.start()
            sleeper.is_asleep.wait()
            successor = threading.Thread(target=second)
            successor.start()
            # It waits for a lock of the disk that a sleeper has, for as long as that sleeps.
            successor.join(10 * lease.PATIENCE_S)
            sleeper.wakes.set()
            sleeper.thread.join()
            successor.join()
        assert storage.list_tree(output) == {}
        if sleeper.num_steps < number:
            break
        outcomes.add(" ".join(told))
    assert number > 8
    assert "begins successor ends" not in outcomes
    # Taken over before it began, and in the middle, which it found out.
    assert {"successor", "begins successor"} <= outcomes


def test_who_was_asleep_with_the_holder_gives_it_time_to_wake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lid was closed over both: the file has not changed, and nobody was there to change it."""
    now = [0.0]
    monkeypatch.setattr(lease, "Silence", lambda every_s: Silence(every_s, lambda: now[0]))
    path = claim(tmp_path, token="lid")
    followed = lease.Followed(str(tmp_path), "lid")
    assert followed.is_held()
    now[0] += 1000
    assert followed.is_held()
    path.write_text(path.read_text().replace('"beat": 0', '"beat": 1'))
    for _ in range(3):
        assert followed.is_held()
        now[0] += lease.HEARTBEAT_S
    now[0] += lease.HEARTBEAT_S
    assert followed.is_held()
    for _ in range(6):
        now[0] += lease.HEARTBEAT_S
        followed.is_held()
    assert not followed.is_held()


def test_a_lock_that_was_taken_and_not_removed_goes(tmp_path: Path) -> None:
    """As its successor was killed between the two."""
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/taken.json").write_bytes(lease._TAKEN)
    with lease.held(str(tmp_path)) as held:
        assert not held.took_over
    assert list((tmp_path / "locks").iterdir()) == []
