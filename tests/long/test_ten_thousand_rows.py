"""Ten thousand pictures of one run: bounded memory, no leftovers, and a kill half-way costs little."""

import os
import subprocess
import sys
import time
from pathlib import Path

from nst import pipeline
from nst.output import records
from nst.settings import RunSettings
from tests.helpers import ROOT, csv_bytes, picture_bytes, row
from tests.system.test_supervisor import children

_SIDE = 100
_NUM_ROWS = _SIDE**2
_MAX_GROWTH_MB = 200


def _start(folder: Path) -> subprocess.Popen[str]:
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "nst",
            "run",
            str(folder / "in/rows.csv"),
            "--output",
            folder / "out",
        ],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


def _num_recorded(folder: Path) -> int:
    try:
        return sum(entry.name.endswith(".json") for entry in os.scandir(folder / "out/records/new"))
    except FileNotFoundError:
        return 0


def test_ten_thousand_rows(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for n in range(_SIDE):
        (tmp_path / f"in/c{n}.png").write_bytes(picture_bytes(36, 48, seed=n))
        (tmp_path / f"in/s{n}.png").write_bytes(picture_bytes(40, 40, seed=1000 + n))
    rows = [
        row(f"c{c}.png", f"s{s}.png", size=48, steps=1) for c in range(_SIDE) for s in range(_SIDE)
    ]
    (tmp_path / "in/rows.csv").write_bytes(csv_bytes(rows))

    running = _start(tmp_path)
    while _num_recorded(tmp_path) < _NUM_ROWS // 2:
        assert running.poll() is None
        time.sleep(0.1)
    running.kill()
    running.communicate()
    time.sleep(2)
    num_pictures = len(os.listdir(tmp_path / "out/images"))
    done = _num_recorded(tmp_path)
    assert num_pictures - done <= 0.02 * _NUM_ROWS
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/images").iterdir()}

    running = _start(tmp_path)
    while _num_recorded(tmp_path) < done + 500:
        assert running.poll() is None
        time.sleep(0.1)
    processes = [running.pid, *children(running.pid)]
    assert len(processes) == 2
    early = {pid: _resident_mb(pid) for pid in processes}
    most = dict(early)
    while running.poll() is None:
        for pid in processes:
            try:
                most[pid] = max(most[pid], _resident_mb(pid))
            except (FileNotFoundError, ValueError):
                continue
        time.sleep(0.2)
    printed = running.communicate()[0]
    assert running.returncode == 0, printed
    assert f"{_NUM_ROWS} of {_NUM_ROWS} rows ok, {done} of them from before" in printed
    growth = {pid: most[pid] - early[pid] for pid in processes}
    print(f"resident MB after 500 pictures {early}, at most {most}")  # noqa: T201 for the record
    assert max(growth.values()) < _MAX_GROWTH_MB, growth
    assert os.listdir(tmp_path / "tmp") == []
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/images").iterdir()}
    repeated = sum(after[name] != at for name, at in before.items())
    assert repeated <= 0.02 * _NUM_ROWS
    settings = RunSettings(output=str(tmp_path / "out"))
    assert len(records.read(settings.output).made) == _NUM_ROWS
    assert pipeline.verify(settings.output).findings == ()
