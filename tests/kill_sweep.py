"""A process that runs a manifest again and again, killed at another write to the store each time.

`python -m tests.kill_sweep MANIFEST OUTPUT KIND EVERY` kills, for each number of a write, a run in a
new output, checks what is visible, runs it again, and compares with a run that nothing disturbed.
KIND says where in a write: `before`, `after`, or `during` on a local disk. EVERY is from one number
to the next; other than 1, it is tripled where the gallery is written. Every run is a fork of this
process, which has done the slow imports.
"""

import hashlib
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from nst import audit, output, pipeline, storage
from nst.errors import ConfigError
from nst.output import read_metadata, records
from nst.running import batch
from nst.settings import RunSettings
from tests.helpers import ROOT, row, write_project

# What a page loads, quoted or not.
_LOADED = re.compile(rb"(?:data|assets)/[a-z_-]+\.[0-9a-f]{8}\.(?:js|css)")
_HASH = re.compile(r"\.[0-9a-f]{8}(?=\.(js|css)$)")
# Which fields vary, and have a file, hangs on seconds too.
_COLUMN = re.compile(r"(?<=data/col-)\d+")
# From about there on a run writes its gallery, of which most files are columns and alike.
_NUM_DENSE = 30
SHOWN = tuple(f"{folder}/" for folder in (output.IMAGES, output.THUMBS, output.INPUTS))


@dataclass(frozen=True, slots=True)
class End:
    """What a run leaves: every row with its status, the digests of all that shows a picture, and
    all files' names.
    """

    rows: Mapping[str, str]
    pictures: Mapping[str, str]
    files: frozenset[str]


def in_a_fork(run: Callable[[], None]) -> int:
    """Run in a new process; its exit status, negative where a signal ended it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            run()
            status = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_at(number: int, kind: str) -> None:
    """Have this process kill itself at its write or deletion of that number."""
    count = 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object, **options: object) -> Any:
            nonlocal count
            count += 1
            is_now = count == number
            if is_now and kind in ("before", "during"):
                die()
            found = function(*arguments, **options)
            if is_now and kind == "after":
                die()
            return found

        return call

    if kind == "during":
        # Every byte is in the temporary file, and none under the final name.
        os.fsync = counted(os.fsync)
    else:
        storage.write_bytes = counted(storage.write_bytes)
        storage.update = counted(storage.update)
        storage.delete = counted(storage.delete)
        storage.delete_all = counted(storage.delete_all)


def run(manifest: str, url: str) -> None:
    pipeline.run_manifest(manifest, RunSettings(output=url, isolate=False))


def check_visible(url: str) -> None:
    """Nothing half-made has a name: pictures decode, records hold, the gallery shows what is there."""
    tree = storage.list_tree(url)
    for path in tree:
        if path.startswith(SHOWN) and not storage.is_leftover(path):
            with Image.open(io.BytesIO(storage.read_bytes(storage.join(url, path)))) as image:
                image.load()
    ledger = records.read(url)
    for outcome in ledger.made.values():
        assert outcome.picture is not None
        data = storage.read_bytes(storage.join(url, outcome.picture))
        assert hashlib.sha256(data).hexdigest() == outcome.picture_digest, outcome.id
        assert set(output.thumbnails_of(outcome).values()) <= tree.keys(), outcome.id
    # A gallery that grows shows what a record proves before the metadata tell of it.
    made = {outcome.picture for outcome in ledger.made.values()}
    with suppress(ConfigError):
        made |= {row.outcome.picture for row in read_metadata(url)}
    assert audit.shown_pictures(url) <= made
    page = output.read_whole(url, output.GALLERY) or b""
    for path in map(bytes.decode, _LOADED.findall(page)):
        assert path in tree, f"the page loads {path}"


def end_of(url: str) -> End:
    found = audit.verify(url)
    assert not found.findings, found.findings
    rows = {row.outcome.id: row.outcome.status for row in read_metadata(url)}
    tree = storage.list_tree(url)
    pictures = {
        path: hashlib.sha256(storage.read_bytes(storage.join(url, path))).hexdigest()
        for path in tree
        if path.startswith(SHOWN)
    }
    return End(rows, pictures, frozenset(map(_steady, tree)))


def _steady(path: str) -> str:
    """A file by what its name says in every run.

    Parts of records are numbered by how often a run ended, and a gallery's files named by what is in
    them, which is also how long a picture took.
    """
    return "records/part" if "/part-" in path else _COLUMN.sub("", _HASH.sub("", path))


def sweep(folder: Path, output: str, kind: str, every: int) -> int:
    """Kill runs at every so many writes; how many were killed."""
    rows = [
        row(id="one", size=48, steps=1),
        row("b.png", id="two", size=48, steps=1),
        row("no.png", id="three"),
    ]
    manifest = write_project(folder / "in", rows)
    done = subprocess.run(
        [sys.executable, "-m", "tests.kill_sweep", str(manifest), output, kind, str(every)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.split()[0])


def main(manifest: str, url: str, kind: str, every: int) -> None:
    torch.set_num_threads(1)
    # Loaded once, for all forks.
    rows = pipeline.make_plan(manifest, RunSettings(output=f"{url}/none"), resume=False)
    group = rows.groups[0]
    batch._backbone(group.weights, batch._layers(group), "auto", "float32", "max")
    whole = f"{url}/undisturbed"
    assert in_a_fork(lambda: run(manifest, whole)) == 0
    expected = end_of(whole)
    number, num_killed = 1, 0
    while True:
        own = f"{url}/{kind}-{number}"

        def killed(number: int = number, own: str = own) -> None:
            kill_at(number, kind)
            run(manifest, own)

        status = in_a_fork(killed)
        if status == 0:
            break
        assert status == -signal.SIGKILL, status
        num_killed += 1
        check_visible(own)
        assert in_a_fork(lambda own=own: run(manifest, own)) == 0, own  # type: ignore[misc]
        found = end_of(own)
        assert found == expected, f"{own}: expected {expected}, found {found}"
        number += every if number < _NUM_DENSE or every == 1 else 3 * every
    sys.stdout.write(f"{num_killed} runs killed\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2].rstrip("/"), sys.argv[3], int(sys.argv[4]))
