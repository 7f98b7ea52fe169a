import hashlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from nst import output, pipeline, storage
from nst.errors import StorageError
from nst.output import thumbnails
from nst.output.metadata import Outcome
from nst.output.reading import read_metadata
from nst.pictures import images
from nst.pictures.images import Picture, Thumbnails
from nst.settings import ImageFormat, RunSettings
from tests.helpers import picture_tensor, row, write_project


def made(url: str, *sizes: tuple[int, int], image_format: ImageFormat = "png") -> list[Outcome]:
    """Pictures of these heights and widths in an output, as a release without thumbnails left them."""
    return [_made(url, n, size, image_format) for n, size in enumerate(sizes)]


def _made(url: str, n: int, size: tuple[int, int], image_format: ImageFormat) -> Outcome:
    picture = Picture(picture_tensor(*size, seed=n).numpy(), None)
    data = images.encode(picture, image_format, {})
    path = f"images/{n}{images.SUFFIXES[image_format]}"
    storage.write_bytes(storage.join(url, path), data)
    digest = hashlib.sha256(data).hexdigest()
    return Outcome(
        id=str(n), status="ok", picture=path, picture_digest=digest, height=size[0], width=size[1]
    )


def of(outcomes: Collection[Outcome]) -> set[str]:
    """The thumbnails that these have, by their paths in the output."""
    return {path for each in outcomes for path in output.thumbnails_of(each).values()}


def stored(url: str) -> Mapping[str, bytes]:
    """The thumbnails that are there."""
    paths = [path for path in storage.list_tree(url) if path.startswith("thumbs/")]
    return {path: storage.read_bytes(storage.join(url, path)) for path in paths}


def test_what_is_made_later_is_what_a_run_makes(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one", size=260, steps=1)])
    url = str(tmp_path / "out")
    pipeline.run_manifest(str(manifest), RunSettings(output=url, isolate=False))
    (record,) = read_metadata(url)
    before = stored(url)
    assert len(before) == 2
    shutil.rmtree(tmp_path / "out/thumbs")
    earlier = replace(record.outcome, thumbnail=None, color=None)
    assert thumbnails.make_missing(url, [earlier]) == 1
    assert stored(url) == before


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_every_picture_has_its_thumbnails_then(tmp_path: Path, image_format: ImageFormat) -> None:
    url = str(tmp_path)
    outcomes = made(url, (48, 64), (300, 200), image_format=image_format)
    assert thumbnails.make_missing(url, outcomes) == 2
    assert stored(url).keys() == of(outcomes)
    assert len(of(outcomes)) == 3


def test_on_s3_as_on_a_disk(tmp_path: Path, bucket: str) -> None:
    sizes = ((48, 64), (300, 200))
    for url in (str(tmp_path), f"{bucket}/out"):
        assert thumbnails.make_missing(url, made(url, *sizes)) == 2
    assert stored(f"{bucket}/out") == stored(str(tmp_path))


def test_only_what_is_missing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(tmp_path)
    outcomes = made(url, (300, 200), (48, 64))
    thumbnails.make_missing(url, outcomes)
    before = stored(url)
    (missing,) = (path for path in before if path.endswith("-512.webp"))
    storage.delete(storage.join(url, missing))
    touched: list[str] = []
    read, write = storage.read_bytes, storage.write_bytes

    def noted_read(uri: str) -> bytes:
        touched.append(uri)
        return read(uri)

    def noted_write(uri: str, data: bytes) -> str:
        touched.append(uri)
        return write(uri, data)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "read_bytes", noted_read)
        patch.setattr(storage, "write_bytes", noted_write)
        assert thumbnails.make_missing(url, outcomes) == 1
        assert thumbnails.make_missing(url, outcomes) == 0
    assert touched == [f"{url}/images/0.png", f"{url}/{missing}"]
    assert stored(url) == before


def test_rows_that_share_a_picture_and_rows_without_one(tmp_path: Path) -> None:
    url = str(tmp_path)
    one, _ = made(url, (48, 64), (48, 64))
    failed = Outcome(id="1", status="failed")
    assert thumbnails.make_missing(url, [one, one, failed]) == 1
    assert stored(url).keys() == of([one])


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.write_bytes(b"no picture"), id="damaged"),
        pytest.param(lambda path: shutil.copy(path.with_name("1.png"), path), id="another"),
        pytest.param(lambda path: path.unlink(), id="gone"),
    ],
)
def test_a_picture_that_is_not_as_recorded_gets_none_and_stops_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], object]
) -> None:
    """Its thumbnails would be of another picture, under the digest of its own."""
    url = str(tmp_path)
    outcomes = made(url, (48, 64), (48, 64))
    spoil(tmp_path / "images/0.png")
    with caplog.at_level(logging.WARNING):
        assert thumbnails.make_missing(url, outcomes) == 1
    assert stored(url).keys() == of(outcomes[1:])
    assert "images/0.png" in caplog.text
    assert "run it again" in caplog.text


def test_a_store_that_cannot_be_written_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = made(str(tmp_path), (48, 64))

    def full(uri: str, data: bytes) -> str:
        raise StorageError(f"cannot write {uri}: no space left")

    monkeypatch.setattr(storage, "write_bytes", full)
    with pytest.raises(StorageError, match="no space left"):
        thumbnails.make_missing(str(tmp_path), outcomes)


def test_few_pictures_are_decoded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many a store is asked for at once."""
    monkeypatch.setattr(images, "MAX_DECODED", 2)
    outcomes = made(str(tmp_path), *[(48, 64)] * 12)
    make, lock = images.thumbnails_of_file, threading.Lock()
    inside: list[str] = []
    counts: list[int] = []

    def counted(data: bytes, edges: Collection[int], *, name: str) -> Thumbnails:
        with lock:
            inside.append(name)
            counts.append(len(inside))
        # Long enough for whoever else may come in.
        time.sleep(0.05)
        found = make(data, edges, name=name)
        with lock:
            inside.remove(name)
        return found

    monkeypatch.setattr(images, "thumbnails_of_file", counted)
    assert thumbnails.make_missing(str(tmp_path), outcomes) == 12
    assert max(counts) == 2
