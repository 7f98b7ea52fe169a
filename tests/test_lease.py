import json
import os
import threading
import time
from pathlib import Path

import pytest

from nst import lease, storage
from nst.errors import ConfigError, NSTError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.05)
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
    assert "process 1 on elsewhere ended without a word" in caplog.text


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


def test_of_many_that_come_at_once_at_most_one_gets_in(tmp_path: Path) -> None:
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


def test_a_lock_that_is_none_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/junk.json").write_text("{")
    with lease.held(str(tmp_path)) as held:
        assert not held.took_over
