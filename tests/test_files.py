import errno
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import count
from pathlib import Path

import pytest

from nst import storage
from nst.errors import (
    ConfigError,
    CorruptTransferError,
    ForbiddenError,
    NotFoundError,
    StorageError,
    TooLargeError,
)
from nst.storage import files, stores
from tests.helpers import refuse_looks


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "the disk is full; free some space and run it again"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EIO, "the disk reports an error"),
        (errno.EROFS, "the file system is read-only"),
    ],
)
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    target = tmp_path / "a.bin"
    storage.write_bytes(str(target), b"before")

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=rf"cannot write .*a\.bin: .*: {advice}") as caught:
        storage.write_bytes(str(target), b"after")
    assert caught.value.ends_the_run
    assert target.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_file_is_put_in_place_by_one_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.bin"
    storage.write_bytes(str(target), b"before")

    def refuse(*_: object) -> None:
        assert target.read_bytes() == b"before"
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StorageError, match="Input/output"):
        storage.write_bytes(str(target), b"after")
    assert target.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_file_and_its_name_are_on_the_disk_before_the_write_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def note(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc here")
    monkeypatch.setattr(os, "fsync", note)
    files.write_file(tmp_path / "a.bin", b"x")
    assert len(synced) == 2
    assert synced[0].endswith(".tmp")
    assert synced[1] == str(tmp_path)


def test_written_files_have_the_users_usual_permissions(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    storage.write_bytes(str(tmp_path / "ours"), b"x")
    assert (tmp_path / "ours").stat().st_mode == usual.stat().st_mode


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="found a folder"):
        storage.read_bytes(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["none.bin", "file.bin/x", "n" * 300, "a\0b", "loop"], ids=lambda n: n[:10]
)
def test_a_path_that_leads_nowhere_concerns_its_row(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.bin").write_bytes(b"x")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(NotFoundError) as caught:
        storage.read_bytes(f"{tmp_path}/{name}")
    assert not caught.value.ends_the_run


def test_a_file_that_may_not_be_read_concerns_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ForbiddenError, match="Permission denied; this user may not read it"):
        storage.read_bytes(str(tmp_path / "a.bin"))


def test_a_pipe_or_a_device_is_no_file_and_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(NotFoundError, match="found a device, a pipe or a socket"):
            storage.read_bytes(str(path))


def test_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    versions = [b"newer!", b"newest"]
    fstat, looks = os.fstat, count()

    def overwrite(handle: int) -> os.stat_result:
        """A file is looked at before it is read and after."""
        found = fstat(handle)
        if next(looks) % 2 == 0 and versions:
            path.write_bytes(versions.pop(0))
        return found

    monkeypatch.setattr(os, "fstat", overwrite)
    assert storage.read_bytes(str(path)) == b"newest"
    versions += [b"1", b"22", b"333"]
    with pytest.raises(CorruptTransferError, match="a file that changes"):
        storage.read_bytes(str(path))


def test_a_folder_that_cannot_be_looked_into_is_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    for call in (storage.list_sizes, storage.list_tree):
        with pytest.raises(StorageError, match="Permission denied"):
            call(str(tmp_path))


def test_links_are_not_followed_down_a_tree(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/up").symlink_to(tmp_path)
    (tmp_path / "sub/gone").symlink_to(tmp_path / "nowhere")
    assert set(storage.list_tree(str(tmp_path))) == {"sub/up", "sub/gone"}
    assert storage.list_sizes(str(tmp_path / "sub")) == {}


def test_the_probe_makes_the_folder(tmp_path: Path) -> None:
    storage.check_writable(str(tmp_path / "a/b"))
    assert list((tmp_path / "a/b").iterdir()) == []


@pytest.mark.parametrize("below", ["", "/x", "/x/y"])
def test_a_file_in_the_way_of_the_output_is_bad_usage(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert storage.list_sizes(f"{tmp_path}/file{below}") == {}
    with pytest.raises(ConfigError, match=rf"found the file {tmp_path}/file; choose another"):
        storage.check_writable(f"{tmp_path}/file{below}")


def test_the_probe_finds_a_disk_that_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        storage.check_writable(str(tmp_path))
    assert caught.value.ends_the_run
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from nst import files
real = os.fsync
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
files.write_file(Path(sys.argv[1]), b"after")
"""


def test_a_killed_writer_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"before")
    subprocess.run([sys.executable, "-c", KILLED, str(target)], timeout=60, check=False)
    assert target.read_bytes() == b"before"


def test_many_writers_of_one_file_leave_one_version(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    versions = [bytes([number]) * 100_000 for number in range(8)]
    writers = [threading.Thread(target=files.write_file, args=(target, v)) for v in versions]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert target.read_bytes() in versions
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_small_scratch_file_needs_no_folder_and_a_large_one_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tmp_path / "nowhere"
    monkeypatch.setattr(tempfile, "tempdir", str(nowhere))
    monkeypatch.setattr(files, "MAX_SCRATCH_BYTES", 10)
    with files.ScratchFile() as file:
        file.write(b"small")
        file.seek(0)
        assert file.read() == b"small"
        with pytest.raises(StorageError, match=r"cannot write .*nowhere: No such file"):
            file.write(b"and then large")
    nowhere.mkdir()
    with files.ScratchFile() as file:
        file.write(b"large from the start")
        file.seek(6)
        assert file.read() == b"from the start"
    assert not list(nowhere.iterdir())


ADD_ONE = """
import sys
from nst import storage
for _ in range(50):
    assert storage.update(sys.argv[1], lambda data: str(int(data) + 1).encode())
"""


def test_updates_of_several_processes_do_not_undo_each_other(tmp_path: Path) -> None:
    path = tmp_path / "number.txt"
    path.write_text("0")
    command = [sys.executable, "-c", ADD_ONE, str(path)]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [each.wait() for each in running] == [0, 0, 0]
    assert path.read_text() == "150"
    assert [p.name for p in tmp_path.iterdir()] == ["number.txt"]


def test_where_there_are_no_locks_a_file_is_updated_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "number.txt"
    path.write_text("0")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert storage.update(str(path), lambda data: data + b"1")
    monkeypatch.setattr(files, "fcntl", None)
    assert storage.update(str(path), lambda data: data + b"2")
    assert path.read_text() == "012"


def test_a_version_changes_with_whatever_is_written(tmp_path: Path) -> None:
    """Also where size and time are those of before, as of a copy that keeps the times of its source."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    long_ago = (1_600_000_000, 1_600_000_000)
    os.utime(path, long_ago)
    before = files.version_of(path)
    assert files.version_of(path) == before
    assert before.text
    path.write_bytes(b"two")
    os.utime(path, long_ago)
    assert files.version_of(path).text != before.text
    # But nobody who goes by size and time alone could tell.
    assert not files.version_of(path).is_of_other_bytes(before.text)
    path.write_bytes(b"three")
    assert files.version_of(path).is_of_other_bytes(before.text)


def test_whether_a_file_is_there_is_told_or_why_it_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bin").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert storage.exists(str(tmp_path / "a.bin"))
    for name in ("", "none", "a.bin/below", "n" * 300, "loop", "a\0b"):
        assert not storage.exists(str(tmp_path / name))
    refuse_looks(monkeypatch, tmp_path)
    with pytest.raises(ForbiddenError, match=r"cannot look at .*a\.bin: .* may not read it"):
        storage.exists(str(tmp_path / "a.bin"))

    def fail(_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "stat", fail)
    with pytest.raises(StorageError, match="the disk reports an error") as caught:
        storage.exists(str(tmp_path / "a.bin"))
    assert caught.value.ends_the_run


def test_a_file_that_was_just_written_has_no_version_to_rely_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    # Its own time is set back, and the time of its inode cannot be.
    os.utime(path, (1_600_000_000, 1_600_000_000))
    now_ns = os.stat(path).st_ctime_ns
    for later_ns, is_settled in ((0, False), (1_999_999_999, False), (2_000_000_000, True)):
        monkeypatch.setattr(time, "time_ns", lambda at=now_ns + later_ns: at)
        looks = [
            files.version_of(path),
            stores.read(str(path)).version,
            storage.read_start(str(path), 2).version,
        ]
        assert [each.is_settled for each in looks] == [is_settled] * 3
        assert {each.settled for each in looks} == {looks[0].text if is_settled else None}


def test_what_is_no_file_has_no_version(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "none", tmp_path / "pipe", Path("a\0b")):
        assert files.version_of(path).text == ""


def test_the_start_of_a_file_tells_how_long_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"0123456789")
    for length, data in ((4, b"0123"), (10, b"0123456789"), (99, b"0123456789")):
        found = storage.read_start(str(path), length)
        assert (found.data, found.size, found.is_whole) == (data, 10, length >= 10)
    with pytest.raises(NotFoundError):
        storage.read_start(str(tmp_path / "none.bin"), 4)
    with pytest.raises(TooLargeError, match="at most 9 bytes, found 10"):
        storage.read_start(str(path), 4, max_bytes=9)
