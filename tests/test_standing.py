import json
from dataclasses import replace
from pathlib import Path

import pytest

from nst import pipeline, storage
from nst.errors import ConfigError
from nst.running import lease
from nst.running.standing import Standing, Standings, standing_of, status, stop, told_of
from nst.settings import RunSettings
from tests.helpers import nst, row, write_project


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(lease, "PATIENCE_S", 0.3)


HALF = Standing(
    phase="painting",
    num_rows=10,
    num_ok=4,
    num_done_before=1,
    failed_by_reason={"not_an_image": 1},
    images_per_s=0.5,
    seconds_left=10.0,
    at="2026-01-01T00:00:00+00:00",
)


def account(folder: Path, **said: object) -> None:
    (folder / "run.json").write_text(json.dumps(said))


def test_a_run_under_way_is_told_with_who_runs_it(tmp_path: Path) -> None:
    account(tmp_path, state="running", manifest="/rows.csv")
    with lease.held(str(tmp_path)) as held:
        held.tell(lambda: told_of(HALF))
        held._renew()
        found = status(str(tmp_path))
    assert (found.state, found.is_alive, found.standing) == ("running", True, HALF)
    assert (found.manifest, found.stop_asked_by) == ("/rows.csv", None)
    assert found.pid is not None
    assert found.host


def test_rows_that_must_not_run_are_counted_by_their_reason(tmp_path: Path) -> None:
    rows = [row(id="one"), row(id="two", size=7), row(id="three", steps=-1)]
    manifest = write_project(tmp_path / "in", rows)
    settings = RunSettings(output=str(tmp_path / "out"), keep_going=True)
    standings = Standings()
    standings.planned(pipeline.make_plan(str(manifest), settings))
    now = standings.now()
    assert (now.num_rows, now.num_ok, now.failed_by_reason) == (3, 0, {"bad_row": 2})


def test_a_killed_run_is_told_with_how_far_it_was(tmp_path: Path) -> None:
    account(tmp_path, state="running")
    with lease.held(str(tmp_path)) as held:
        held.tell(lambda: told_of(HALF))
        held._renew()
        (lock,) = (tmp_path / "locks").iterdir()
        said = json.loads(lock.read_text())
    # As its process left it, on a machine of which nothing is known here.
    lock.write_text(json.dumps(said | {"processes": "another boot"}))
    found = status(str(tmp_path))
    assert (found.state, found.is_alive, found.standing) == ("killed", False, HALF)
    asked = stop(str(tmp_path), "me")
    assert (asked.has_noted, asked.before.state) == (False, "killed")


def test_runs_that_have_ended_are_told_by_run_json(tmp_path: Path) -> None:
    times = {"started_at": "2026-01-01T00:00:00+00:00", "ended_at": "2026-01-01T00:00:10+00:00"}
    account(tmp_path, state="finished", num_rows=5, num_ok=5, num_done_before=0, **times)
    found = status(str(tmp_path))
    assert (found.state, found.standing.num_ok, found.standing.images_per_s) == ("finished", 5, 0.5)
    account(tmp_path, state="interrupted", num_ok=4, progress=told_of(HALF), stopped_by="me")
    found = status(str(tmp_path))
    assert (found.state, found.stop_asked_by, found.standing) == ("interrupted", "me", HALF)
    account(tmp_path, state="running")
    assert status(str(tmp_path)).state == "killed"
    account(tmp_path, state="stopped", error="no bucket", progress="nonsense")
    found = status(str(tmp_path))
    assert (found.error, found.standing) == ("no bucket", Standing())


def test_what_is_no_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected the output of a run, found none"):
        status(str(tmp_path))


def test_a_standing_of_nonsense_is_not_known() -> None:
    assert standing_of({"num_ok": "x", "failed_by_reason": [], "images_per_s": float("nan")}) == (
        Standing()
    )
    assert standing_of(json.loads(json.dumps(told_of(HALF)))) == HALF


def test_a_run_takes_note_of_being_asked_to_stop(tmp_path: Path) -> None:
    account(tmp_path, state="running")
    with lease.held(str(tmp_path)) as held:
        assert held.stop_asked_by() is None
        asked = stop(str(tmp_path), "somebody on elsewhere")
        assert asked.has_noted
        assert held.stop_asked_by() == "somebody on elsewhere"
        assert status(str(tmp_path)).state == "stopping"
        # The first who asked is told of.
        assert stop(str(tmp_path), "another").has_noted
        assert held.stop_asked_by() == "somebody on elsewhere"


def test_a_run_that_drops_the_request_is_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account(tmp_path, state="running")
    encoded = lease._encoded
    with lease.held(str(tmp_path)):
        # An earlier release writes what it knows.
        monkeypatch.setattr(
            lease, "_encoded", lambda one: encoded(replace(one, told=lease._Told()))
        )
        with pytest.raises(ConfigError, match="does not take note, as of an earlier release"):
            stop(str(tmp_path), "me")


def test_a_lock_of_an_earlier_release_is_told_of(tmp_path: Path) -> None:
    with lease.held(str(tmp_path)):
        (lock,) = (tmp_path / "locks").iterdir()
        said = json.loads(lock.read_text())
        del said["progress"], said["stop"]
        storage.write_bytes(str(lock), json.dumps(said).encode())
        found = lease.holder(str(tmp_path))
    assert found is not None
    assert found.told == lease._Told()


def test_the_commands_say_it_in_words(tmp_path: Path) -> None:
    account(tmp_path, state="finished", num_rows=2, num_ok=1, failed_by_reason={"bad_row": 1})
    done = nst("status", tmp_path)
    assert done.returncode == 0
    assert "1 of 2 rows done, 1 failed" in done.stdout
    assert "1 failed, bad_row" in done.stdout
    told = json.loads(nst("status", tmp_path, "--json").stdout)
    assert (told["command"], told["state"], told["num_ok"]) == ("status", "finished", 1)
    done = nst("stop", tmp_path)
    assert (done.returncode, "nothing to stop" in done.stdout) == (0, True)
    assert nst("stop", tmp_path / "nowhere").returncode == 2
    with lease.held(str(tmp_path)):
        assert "whose lease is alive" in nst("status", tmp_path).stdout
        assert "stops after its current pictures" in nst("stop", tmp_path).stdout
