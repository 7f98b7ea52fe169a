import io
import secrets
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from nst import iterables, storage
from nst.errors import (
    ConfigError,
    CorruptTransferError,
    ForbiddenError,
    NotFoundError,
    StorageError,
    TooLargeError,
)
from nst.iterables import in_parallel
from nst.storage import stores
from tests.buckets import hurry


@pytest.fixture(params=["local", "s3", "other"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path)
    if request.param == "other":
        return f"memory://{tmp_path}"
    return str(request.getfixturevalue("bucket")) + "/some/folder"


def test_what_is_written_is_read(folder: str) -> None:
    uri = storage.join(folder, "deep", "down", "a b+c%20#é.bin")
    storage.write_bytes(uri, b"one")
    assert storage.read_bytes(uri) == b"one"
    storage.write_bytes(uri, b"other")
    assert storage.read_bytes(uri) == b"other"


def test_an_update_changes_what_is_there_and_nothing_else(folder: str) -> None:
    uri = storage.join(folder, "deep", "a.json")
    assert not storage.update(uri, lambda data: data + b"more")
    assert storage.list_tree(folder) == {}
    storage.write_bytes(uri, b"one")
    assert storage.update(uri, lambda data: data + b" more")
    assert storage.read_bytes(uri) == b"one more"
    assert not storage.update(uri, lambda _: None)
    assert storage.read_bytes(uri) == b"one more"


def test_work_in_parallel_is_checked_before_each(folder: str) -> None:
    uris = [storage.join(folder, f"{number}.bin") for number in range(50)]
    left = iter(range(20))

    def check() -> None:
        if next(left, None) is None:
            raise StorageError("no more")

    with pytest.raises(StorageError, match="no more"):
        in_parallel(lambda uri: storage.write_bytes(uri, b"x"), uris, check=check)
    assert len(storage.list_sizes(folder)) <= 20


@pytest.mark.parametrize("large", [0, 1000, 10_000_000])
def test_a_file_of_any_size_comes_and_goes_as_bytes_do(
    folder: str, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "LARGE_BYTES", large)
    uri = storage.join(folder, "deep", "a b.bin")
    for data in (secrets.token_bytes(3_000_000), b"shorter", b""):
        file = io.BytesIO(data)
        file.seek(0, io.SEEK_END)
        version = storage.write_file(uri, file)
        assert storage.read_bytes(uri) == data
        ((name, listed),) = storage.list_objects(storage.parent(uri))
        assert (name, listed.size) == ("a b.bin", len(data))
        assert version in ("", listed.version)
        sink = io.BytesIO(b"what was there before" * 200_000)
        storage.read_into(uri, sink)
        assert sink.getvalue() == data
    with pytest.raises(NotFoundError, match=r"none\.bin: there is no such file or object"):
        storage.read_into(storage.join(folder, "none.bin"), sink)


def test_tells_whether_there_is_an_object(folder: str) -> None:
    uri = storage.join(folder, "sub", "a b.bin")
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"x")
    assert storage.exists(uri)
    assert not storage.exists(storage.parent(uri))


def test_more_items_than_are_under_way_at_a_time_come_back_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(iterables, "ITEMS_AT_ONCE", 3)
    assert in_parallel(str, list(range(8))) == [str(n) for n in range(8)]
    asked: list[int] = []

    def refused(item: int) -> None:
        asked.append(item)
        if item == 1:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_parallel(refused, list(range(8)))
    assert set(asked) <= {0, 1, 2}


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


def test_lists_all_below_a_folder(folder: str) -> None:
    names = ["a.txt", "sub/b.txt", "sub/deep/er/c.txt"]
    for name in names:
        storage.write_bytes(storage.join(folder, name), b"xy")
    assert storage.list_tree(folder) == dict.fromkeys(names, 2)
    assert storage.list_tree(folder + "/") == dict.fromkeys(names, 2)
    assert storage.list_tree(storage.join(folder, "sub")) == {"b.txt": 2, "deep/er/c.txt": 2}
    assert storage.list_tree(storage.join(folder, "su")) == {}


def test_what_is_deleted_is_gone_and_may_be_again(folder: str) -> None:
    uri = storage.join(folder, "a", "b.txt")
    storage.write_bytes(uri, b"x")
    storage.delete(uri)
    storage.delete(uri)
    storage.delete(storage.join(uri, "c.txt"))
    assert storage.list_tree(folder) == {}


def test_what_is_too_large_is_not_read(folder: str) -> None:
    uri = storage.join(folder, "a.bin")
    storage.write_bytes(uri, b"12345")
    assert storage.read_bytes(uri, max_bytes=5) == b"12345"
    with pytest.raises(TooLargeError, match=r"a\.bin: expected at most 4 bytes, found 5"):
        storage.read_bytes(uri, max_bytes=4)


def test_the_probe_leaves_nothing_behind(folder: str) -> None:
    storage.check_writable(storage.join(folder, "out", "put"))
    assert storage.list_tree(folder) == {}


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


def test_a_pattern_of_many_wildcards_finds_its_files(folder: str) -> None:
    storage.write_bytes(storage.join(folder, "in/" + "a" * 60), b"x")
    storage.write_bytes(storage.join(folder, "in/a"), b"x")
    assert storage.glob(folder, "in/" + "*?" * 20) == ["in/" + "a" * 60]
    assert storage.glob(folder, "in/" + "*?" * 20 + "b") == []


def test_brackets_of_a_folder_are_no_pattern(folder: str) -> None:
    for name in ("x [1]/a.png", "x [1]/b[2]/c.png", "x 1/a.png", "y*?/a.png", "y2/a.png"):
        if "*" not in name or "://" not in folder:
            storage.write_bytes(storage.join(folder, name), b"x")
    odd = storage.join(folder, "x [1]")
    assert storage.glob(odd, "*.png") == ["a.png"]
    assert storage.glob(odd, "../x*1/*.png") == ["../x 1/a.png"]
    assert storage.glob(odd, "b[2]/*.png") == ["b[2]/c.png"]
    assert storage.glob(odd, "**/c.png") == ["b[2]/c.png"]
    assert storage.glob(folder, "x [[]1]/*.png") == ["x [1]/a.png"]
    absolute = storage.join(odd, "b[2]/*.png")
    assert storage.glob("/anywhere", absolute) == [storage.join(odd, "b[2]/c.png")]
    if "://" not in folder:
        assert storage.glob(f"{folder}/y*?", "*.png") == ["a.png"]


def test_a_pattern_is_one_where_no_folder_has_its_name(folder: str) -> None:
    for name in ("x1/a.png", "x2/a.png"):
        storage.write_bytes(storage.join(folder, name), b"x")
    assert storage.glob(folder, "x[12]/*.png") == ["x1/a.png", "x2/a.png"]
    assert storage.glob(folder, "x[!1]/*.png") == ["x2/a.png"]
    assert storage.glob(folder, "x?/a.p[nm]g") == ["x1/a.png", "x2/a.png"]


def test_wildcards_match_no_hidden_files(folder: str) -> None:
    for name in ("._a.png", "a.png", ".trash/b.png", "c/._d.png", "c/_DSC1.png", ".hid/e.png"):
        storage.write_bytes(storage.join(folder, name), b"x")
    assert storage.glob(folder, "*.png") == ["a.png"]
    assert storage.glob(folder, "**/*.png") == ["a.png", "c/_DSC1.png"]
    assert storage.glob(folder, "*/*.png") == ["c/_DSC1.png"]
    assert storage.glob(folder, "._*.png") == ["._a.png"]
    assert storage.glob(storage.join(folder, ".hid"), "*.png") == ["e.png"]
    assert storage.glob(folder, ".hid/*.png") == [".hid/e.png"]


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


@pytest.mark.parametrize(
    "uri", ["nowhere://a/b", "s3://", "zip://a::no.zip", "github://x", "reference://x"]
)
def test_a_url_that_cannot_be_is_a_storage_error(uri: str, s3_server: str) -> None:
    with pytest.raises(StorageError, match="cannot read"):
        storage.read_bytes(uri)


def test_a_store_that_does_not_answer_is_worth_another_try(
    monkeypatch: pytest.MonkeyPatch, s3_server: str
) -> None:
    from botocore.exceptions import EndpointConnectionError

    async def refuse(*_: object, **__: object) -> bytes:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    monkeypatch.setattr("s3fs.S3FileSystem._call_s3", refuse)
    hurry(monkeypatch)
    with pytest.raises(StorageError, match="Could not connect") as caught:
        storage.read_bytes("s3://bucket/key")
    assert caught.value.ends_the_run


class Flaky(MemoryFileSystem):  # type: ignore[misc]
    """A store of another kind, which answers as `errors` and `bodies` say before it does well."""

    protocol = "flaky"
    errors: ClassVar[list[Exception]] = []
    bodies: ClassVar[list[bytes]] = []

    def cat_file(self, path: str, **_: Any) -> bytes:
        if self.errors:
            raise self.errors.pop()
        return self.bodies.pop() if self.bodies else b"whole"

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": 5, "type": "file"}


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> type[Flaky]:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    hurry(monkeypatch)
    monkeypatch.setattr(Flaky, "errors", [])
    monkeypatch.setattr(Flaky, "bodies", [])
    return Flaky


def test_other_stores_are_asked_again_too(flaky: type[Flaky]) -> None:
    flaky.errors += [ConnectionResetError("gone"), TimeoutError("late")]
    flaky.bodies += [b"who", b""]
    assert storage.read_bytes("flaky://a/b") == b"whole"
    flaky.bodies += [b"who"] * 7
    with pytest.raises(
        CorruptTransferError, match="expected 5 bytes as the store says, received 3"
    ):
        storage.read_bytes("flaky://a/b")


class Tearing(MemoryFileSystem):  # type: ignore[misc]
    """A store of another kind, which breaks off in the middle of a file while `tears` is not 0."""

    protocol = "tearing"
    tears: ClassVar[int] = 0

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        file = super()._open(path, mode, **options)
        if mode == "wb" and Tearing.tears:
            Tearing.tears -= 1
            write = file.write

            def torn(data: bytes) -> int:
                write(data[: len(data) // 2])
                raise ConnectionResetError("gone")

            file.write = torn
        return file


@pytest.mark.parametrize("tears", [2, 100])
def test_a_file_that_a_store_breaks_off_in_is_never_under_its_name(
    tears: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fsspec.register_implementation("tearing", Tearing, clobber=True)
    hurry(monkeypatch)
    monkeypatch.setattr(stores, "LARGE_BYTES", 10)
    uri = f"tearing://{tmp_path}/a.bin"
    storage.write_bytes(uri, b"before")
    monkeypatch.setattr(Tearing, "tears", tears)
    data = b"after" * 10
    if tears > 10:
        with pytest.raises(StorageError, match=r"cannot write .*a\.bin: gone") as caught:
            storage.write_file(uri, io.BytesIO(data))
        assert caught.value.ends_the_run
        assert storage.read_bytes(uri) == b"before"
    else:
        storage.write_file(uri, io.BytesIO(data))
        assert storage.read_bytes(uri) == data
    assert list(storage.list_sizes(storage.parent(uri))) == ["a.bin"]


@pytest.mark.parametrize(
    ("error", "kind", "ends"),
    [
        (FileNotFoundError("x"), NotFoundError, False),
        (PermissionError("x"), ForbiddenError, False),
        (ConnectionRefusedError("x"), StorageError, True),
        (ValueError("x"), StorageError, False),
    ],
)
def test_what_other_stores_raise_is_told_apart(
    flaky: type[Flaky], error: Exception, kind: type[StorageError], ends: bool
) -> None:
    flaky.errors += [error] * 7
    with pytest.raises(kind, match=r"cannot read flaky://\*\*\*@a/b") as caught:
        storage.read_bytes("flaky://user:secret@a/b")
    assert caught.value.ends_the_run is ends


def test_what_cannot_be_written_to_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    with pytest.raises(StorageError, match="cannot write https://") as caught:
        storage.write_bytes("https://127.0.0.1:9/a", b"x")
    assert caught.value.ends_the_run


@pytest.mark.parametrize(
    ("folder", "start", "expected"),
    [
        ("/a/run", "/a/run", ""),
        ("/a/run", "/a/run/compare", "../"),
        ("/a/one #1", "/a/both", "../one%20%231/"),
        ("/a/run/deep", "/a/run", "deep/"),
        ("s3://b/x/one", "s3://b/x/both", "../one/"),
        ("s3a://b/x", "s3://b/x", ""),
        ("memory://x/one", "memory://x/two", "../one/"),
    ],
)
def test_a_page_links_a_folder_by_a_relative_url(folder: str, start: str, expected: str) -> None:
    assert storage.relative_link(folder, start) == expected


@pytest.mark.parametrize(
    ("folder", "start"),
    [("s3://a/x", "s3://b/x"), ("/x", "s3://b/x"), ("gs://a/x", "s3://a/x")],
)
def test_what_no_relative_url_reaches_is_refused(folder: str, start: str) -> None:
    with pytest.raises(ConfigError, match="one disk or in one bucket"):
        storage.relative_link(folder, start)


def test_a_name_that_begins_with_a_tilde_is_relative_unless_it_is_of_a_home() -> None:
    assert storage.resolve("s3://b/in", "~x.png") == "s3://b/in/~x.png"
    assert storage.resolve("/in", "~$x/a.png") == "/in/~$x/a.png"
    for reference in ("~", "~/x.png"):
        assert storage.resolve("s3://b/in", reference) == reference


def test_a_user_whose_name_has_nul_in_it_is_none() -> None:
    assert not stores.is_absolute("~\0/a.png")
    assert stores.with_home("~") != "~"
