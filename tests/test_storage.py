import os
from pathlib import Path

import pytest

from nst import storage
from nst.errors import ConfigError, NotFoundError, StorageError


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path)
    return str(request.getfixturevalue("bucket")) + "/some/folder"


def test_what_is_written_is_read(folder: str) -> None:
    uri = storage.join(folder, "deep", "down", "a b+c%20#é.bin")
    storage.write_bytes(uri, b"one")
    assert storage.read_bytes(uri) == b"one"
    storage.write_bytes(uri, b"other")
    assert storage.read_bytes(uri) == b"other"


def test_lists_the_files_of_a_folder_and_nothing_below(folder: str) -> None:
    for name in ("a.txt", "b.txt", "sub/c.txt"):
        storage.write_bytes(storage.join(folder, name), b"x")
    assert storage.list_sizes(folder) == {"a.txt": 1, "b.txt": 1}
    storage.write_bytes(storage.join(folder, "d.txt"), b"xyz")
    assert storage.list_sizes(folder)["d.txt"] == 3
    assert storage.list_sizes(storage.join(folder, "none")) == {}


def test_what_is_missing_is_not_found(folder: str) -> None:
    with pytest.raises(NotFoundError, match=r"none\.bin: there is no such file or object"):
        storage.read_bytes(storage.join(folder, "none.bin"))


def test_glob_gives_references_as_they_would_be_written(folder: str) -> None:
    for name in ("pictures/b.png", "pictures/a.png", "pictures/a.txt", "other/c.png"):
        storage.write_bytes(storage.join(folder, name), b"x")
    assert storage.glob(folder, "pictures/*.png") == ["pictures/a.png", "pictures/b.png"]
    inner = storage.join(folder, "other")
    assert storage.glob(inner, "../pictures/*.png") == ["../pictures/a.png", "../pictures/b.png"]
    storage.write_bytes(storage.join(folder, "a[1].png"), b"x")
    assert storage.glob(folder, "a[1].png") == ["a[1].png"]
    absolute = storage.join(folder, "pictures/a.*")
    assert storage.glob("/anywhere", absolute) == [
        storage.join(folder, "pictures/a.png"),
        storage.join(folder, "pictures/a.txt"),
    ]


@pytest.mark.parametrize(
    ("base", "reference", "expected"),
    [
        ("/m/n", "a.png", "/m/n/a.png"),
        ("/m/n", "../a.png", "/m/a.png"),
        ("/m/n", "/x/a.png", "/x/a.png"),
        ("/m/n", "s3://b/a.png", "s3://b/a.png"),
        ("s3://b/m", "a.png", "s3://b/m/a.png"),
        ("s3://b/m", "../x/a.png", "s3://b/x/a.png"),
        ("s3://b", "a.png", "s3://b/a.png"),
        # In a store, dots in a whole URL are part of a key.
        ("s3://b/m", "s3://b/a/../c.png", "s3://b/a/../c.png"),
    ],
)
def test_resolve(base: str, reference: str, expected: str) -> None:
    assert storage.resolve(base, reference) == expected


def test_parent_and_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.parent("s3://b/m/manifest.csv") == "s3://b/m"
    assert storage.parent("manifest.csv") == str(tmp_path)
    assert storage.absolute("out") == str(tmp_path / "out")
    assert storage.absolute("s3://b/out") == "s3://b/out"
    assert storage.absolute((tmp_path / "a b").as_uri()) == str(tmp_path / "a b")
    assert storage.browsable(str(tmp_path / "a b")) == (tmp_path / "a b").as_uri()


@pytest.mark.parametrize("uri", ["", " ", "s3://", "s3:///", "file:///"])
def test_what_names_nothing_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="expected a path or a URL"):
        storage.absolute(uri)


def test_a_local_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.bin"
    storage.write_bytes(str(target), b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"a\.bin: .*No space left") as caught:
        storage.write_bytes(str(target), b"after")
    assert caught.value.ends_the_run
    assert target.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_local_file_is_put_in_place_by_one_rename(
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


def test_written_files_have_the_users_usual_permissions(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    storage.write_bytes(str(tmp_path / "ours"), b"x")
    assert (tmp_path / "ours").stat().st_mode == usual.stat().st_mode


@pytest.mark.parametrize(
    "uri", ["nowhere://a/b", "s3://", "zip://a::no.zip", "github://x", "reference://x"]
)
def test_a_url_that_cannot_be_is_a_storage_error(uri: str, s3_server: str) -> None:
    with pytest.raises(StorageError, match="cannot read"):
        storage.read_bytes(uri)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="found a folder"):
        storage.read_bytes(str(tmp_path))


def test_a_store_that_does_not_answer_is_worth_another_try(
    monkeypatch: pytest.MonkeyPatch, s3_server: str
) -> None:
    from botocore.exceptions import EndpointConnectionError

    async def refuse(*_: object, **__: object) -> bytes:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    monkeypatch.setattr("s3fs.S3FileSystem._call_s3", refuse)
    with pytest.raises(StorageError, match="Could not connect") as caught:
        storage.read_bytes("s3://bucket/key")
    assert caught.value.ends_the_run
