"""Processes that end (86 to 94)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from nst import pipeline
from nst.running import lease
from nst.running.supervisor import Supervisor
from nst.settings import RunSettings
from tests import poison
from tests.catalogue import Bench, Case, Letter, bad, good
from tests.helpers import PATIENCE_S, ROOT, SILENCE_S, csv_bytes, row, started, write_project
from tests.painters import PaintsBy

_LETTER_OF: Mapping[int, Letter] = {0: "OK", 1: "S", 2: "A", 3: "R"}


def _started(bench: Bench) -> AbstractContextManager["subprocess.Popen[str]"]:
    """`nst run` as a user types it, with rows enough to be met half-way."""
    rows = [row(id=f"n{n}", size=48, steps=15, seed=n, init="noise") for n in range(8)]
    manifest = write_project(bench.inputs, rows)
    return started("run", manifest, "--output", bench.output)


def _wait_for_a_picture(bench: Bench) -> None:
    until = time.monotonic() + PATIENCE_S
    while not list((bench.output / "records/new").glob("*.json")):
        assert time.monotonic() < until, "no picture"
        time.sleep(0.05)


def _again(bench: Bench) -> Letter:
    manifest = bench.inputs / "manifest.csv"
    seen = bench.nst("run", str(manifest), "--output", str(bench.output), "--no-isolate")
    assert len(seen.records) == 8
    return seen.letter


def _killed(bench: Bench) -> Letter:
    """Every write is in tests/long/test_kill_sweep.py; here the command itself, half-way."""
    with _started(bench) as running:
        _wait_for_a_picture(bench)
        running.kill()
        running.communicate()
    return _again(bench)


def _signalled(number: int, times: int) -> "Case":
    def observe(bench: Bench) -> Letter:
        with _started(bench) as running:
            _wait_for_a_picture(bench)
            for _ in range(times):
                running.send_signal(number)
                time.sleep(0.05)
            running.communicate(timeout=PATIENCE_S)
        assert running.returncode in (128 + number, -number)
        return _again(bench)

    name = f"{signal.Signals(number).name} {'twice' if times == 2 else 'once'}"
    return Case(87, "OK", name, observe)


def _poison(seed: int, reason: str, **settings: float) -> "Case":
    def observe(bench: Bench) -> Letter:
        rows = [good(), bad(seed=seed), row(id="after", size=48, steps=1)]
        manifest = write_project(bench.inputs, rows)
        chosen = RunSettings(output=str(bench.output), **settings)  # type: ignore[arg-type]
        supervisor = Supervisor(entry="tests.poison")
        try:
            plan = pipeline.make_plan(str(manifest), chosen)
            report = pipeline.run(plan, chosen, painter=PaintsBy(supervisor.run_group))
        finally:
            supervisor.stop()
        assert [record.outcome.reason for record in report.failed] == [reason]
        return "R" if report.num_ok == 2 else "OK"

    return Case(88 if reason == "worker_died" else 91, "R", f"a picture of {reason}", observe)


def _server_gone(bench: Bench) -> Letter:
    return _typed(bench, "--prefect", PREFECT_API_URL="http://127.0.0.1:9/api")


def _two_at_once(bench: Bench) -> Letter:
    bench.output.mkdir()
    with lease.held(str(bench.output)):
        seen = bench.run([])
    assert "expected to be the only run here" in seen.printed
    return seen.letter


def _stale_lock(bench: Bench) -> Letter:
    """Of a machine that was rebooted, or whose clock jumped: times on it are never looked at."""
    bench.monkeypatch.setattr(lease, "PATIENCE_S", 0.2)
    bench.monkeypatch.setattr(lease, "HEARTBEAT_S", 0.05)
    locks = bench.output / "locks"
    locks.mkdir(parents=True)
    (locks / "0000000000000000.json").write_text(
        '{"token": "0000000000000000", "number": 1, "beat": 5, "host": "gone", "pid": 1, '
        '"processes": "a boot before", "process_started": "1", '
        '"since": "2999-01-01T00:00:00+00:00"}'
    )
    return bench.run([]).letter


def _typed(
    bench: Bench, *arguments: str, python: Sequence[str] = (), **environment: str | None
) -> Letter:
    """The command in a process of its own, with this environment."""
    manifest = write_project(bench.inputs, [])
    manifest.write_bytes(csv_bytes([good()]))
    chosen = {**os.environ, **environment}
    done = subprocess.run(
        [
            sys.executable,
            *python,
            "-m",
            "nst",
            "run",
            str(manifest),
            "--output",
            str(bench.output),
            *arguments,
        ],
        cwd=ROOT,
        env={name: value for name, value in chosen.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return _LETTER_OF[done.returncode]


def _umask(bench: Bench) -> Letter:
    before = os.umask(0o077)
    try:
        return _typed(bench)
    finally:
        os.umask(before)


def _no_home(bench: Bench) -> Letter:
    home = bench.folder / "home"
    home.mkdir(mode=0o500)
    return _typed(bench, HOME=None, TMPDIR=str(home), TZ="Pacific/Kiritimati", LANG="C", LC_ALL="C")


def _without_asserts(bench: Bench) -> Letter:
    plain, bare = bench.output / "images/good.png", Path(f"{bench.output}-before")
    first = _typed(bench)
    bench.output.rename(bare)
    second = _typed(bench, python=["-O"])
    assert plain.read_bytes() == (bare / "images/good.png").read_bytes()
    assert first == second
    return second


def _forked(bench: Bench) -> Letter:
    """The painting process is started anew and never forked, so that it inherits no locked lock."""
    manifest = write_project(bench.inputs, [good()])
    return bench.nst("run", str(manifest), "--output", str(bench.output)).letter


CASES: tuple[Case, ...] = (
    Case(86, "OK", "killed half-way and run again", _killed),
    _signalled(signal.SIGINT, 1),
    _signalled(signal.SIGINT, 2),
    _signalled(signal.SIGTERM, 1),
    _poison(poison.KILLS, "worker_died"),
    Case(89, "A", "the Prefect server is not there", _server_gone),
    Case(90, "A", "a second run while one goes on", _two_at_once),
    Case(90, "OK", "a lock of a machine that is gone", _stale_lock),
    _poison(poison.HANGS, "timed_out", timeout_s=SILENCE_S),
    Case(92, "OK", "painting in a process of its own", _forked),
    Case(93, "OK", "a narrow umask", _umask),
    Case(93, "OK", "no home, no temporary folder, another clock", _no_home),
    Case(94, "OK", "python -O", _without_asserts),
)
