"""Galleries as they are written to an output, by a run and by a rebuilding."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nst import gallery, storage
from nst.errors import ConfigError, CorruptTransferError, StorageError
from nst.gallery.publishing import rebuild_gallery
from nst.output.metadata import Record
from nst.storage import stores
from tests.galleries import files_in, read_gallery, record
from tests.helpers import Page
from tests.tables import metadata_to_parquet


def write_output(folder: Path | str, run: list[Record]) -> str:
    """An output of a run as far as a gallery needs one."""
    labels = list(dict.fromkeys(label for each in run for label in each.labels))
    table = metadata_to_parquet(run, labels)
    storage.write_bytes(storage.join(str(folder), "metadata.parquet"), table)
    return str(folder)


def rows(number: int = 3, **values: object) -> list[Record]:
    return [record(id=f"p{n}", content=f"{n}.png", **values) for n in range(number)]


@contextmanager
def writes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the files that are written and removed meanwhile, in that order."""
    seen: list[str] = []
    write, delete = storage.write_bytes, storage.delete

    def written(uri: str, data: bytes) -> str:
        seen.append(uri)
        return write(uri, data)

    def deleted(uri: str) -> None:
        seen.append(f"-{uri}")
        delete(uri)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_bytes", written)
        for owner in (storage, stores):
            patch.setattr(owner, "delete", deleted)
        yield seen


def test_a_gallery_is_built_in_its_output(tmp_path: Path) -> None:
    output = write_output(tmp_path, rows())
    assert rebuild_gallery([output]) == (tmp_path / "index.html").as_uri()
    assert len(read_gallery(files_in(tmp_path)).items) == 3


def test_the_page_is_written_when_all_that_it_loads_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = write_output(tmp_path, rows())
    rebuild_gallery([output])
    write_output(tmp_path, rows(4))
    with writes(monkeypatch) as seen:
        rebuild_gallery([output])
    names = [name.removeprefix("-").removeprefix(f"{tmp_path}/") for name in seen]
    page = names.index("index.html")
    assert names.index("data/build.json") < page
    assert names[page + 1] == "data/build.json"
    assert all(name.startswith("-") for name in seen[page + 2 :])
    assert seen[page + 2 :]
    assert not any(name.startswith("-") for name in seen[1:page])


def test_what_is_there_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = write_output(tmp_path, rows(300))
    rebuild_gallery([output])
    before = files_in(tmp_path)
    with writes(monkeypatch) as seen:
        rebuild_gallery([output])
    assert seen == []
    # Another first chunk, the second the same.
    write_output(tmp_path, [record(id="other", content="0.png"), *rows(300)[1:]])
    with writes(monkeypatch) as seen:
        rebuild_gallery([output])
    names = {name.removeprefix(f"{tmp_path}/").split(".")[0] for name in seen if name[0] != "-"}
    assert "data/rows-0000" in names
    assert not names & {"data/rows-0001", "data/detail-0001", "assets/gallery", "assets/large"}
    after = files_in(tmp_path)
    assert {path for path in after if "rows-0001" in path} <= set(before)
    assert set(after) == {*gallery.read_receipt(after[gallery.RECEIPT])[1], gallery.RECEIPT}


def test_a_receipt_that_a_store_finds_damaged_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = write_output(tmp_path, rows(2))
    rebuild_gallery([output])
    before = files_in(tmp_path)
    real = storage.read_bytes

    def read(uri: str) -> bytes:
        if uri.endswith(gallery.RECEIPT):
            raise CorruptTransferError(f"cannot read {uri}: expected another MD5")
        return real(uri)

    monkeypatch.setattr(storage, "read_bytes", read)
    with writes(monkeypatch) as seen:
        rebuild_gallery([output])
    assert seen
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("damage", ["gone", "cut"])
@pytest.mark.parametrize(
    "path", ["index.html", "data/spine.*", "assets/gallery.*.css", "pages/1.html"]
)
def test_a_file_that_is_gone_or_cut_is_no_reason_to_do_nothing(
    tmp_path: Path, path: str, damage: str
) -> None:
    output = write_output(tmp_path, rows())
    rebuild_gallery([output])
    before = files_in(tmp_path)
    (file,) = tmp_path.glob(path)
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    rebuild_gallery([output])
    assert files_in(tmp_path) == before


def test_other_options_previews_and_metadata_make_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = write_output(tmp_path, rows())
    rebuild_gallery([output])
    assert (tmp_path / "pages/1.html").exists()
    rebuild_gallery([output], static_pages=False)
    assert not (tmp_path / "pages/1.html").exists()
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs/x.jpg").write_bytes(b"")
    with writes(monkeypatch) as seen:
        rebuild_gallery([output], static_pages=False)
    assert seen


def test_a_store_that_fails_half_way_leaves_a_page_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = write_output(tmp_path, rows())
    rebuild_gallery([output])
    before = read_gallery(files_in(tmp_path))
    write_output(tmp_path, rows(4))
    write = storage.write_bytes

    def full(uri: str, data: bytes) -> str:
        if uri.endswith("index.html"):
            raise StorageError("no space left")
        return write(uri, data)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_bytes", full)
        with pytest.raises(StorageError):
            rebuild_gallery([output])
    (head,) = Page((tmp_path / "index.html").read_text()).all("html")
    files = files_in(tmp_path)
    files = {
        p: d for p, d in files.items() if not p.startswith("data/spine") or p == head["data-spine"]
    }
    assert read_gallery(files).items == before.items
    rebuild_gallery([output])
    assert len(read_gallery(files_in(tmp_path)).items) == 4


@pytest.mark.parametrize("is_killed", [False, True])
def test_files_of_an_earlier_gallery_go_and_those_of_the_user_stay(
    tmp_path: Path, is_killed: bool
) -> None:
    output = write_output(tmp_path, rows())
    rebuild_gallery([output])
    page = (tmp_path / "pages/1.html").read_bytes()
    earlier = {"pages/7.html": page, "data/rows-0007.0123abcd.js": b"x"}
    if not is_killed:
        earlier["assets/gallery.css"] = b"named by the receipt"
    mine = ("assets/gallery.js", "data/mine.csv", "pages/notes.html", "pages/8.html")
    for name, data in earlier.items():
        (tmp_path / name).write_bytes(data)
    for name in mine:
        (tmp_path / name).write_text("x")
    receipt = tmp_path / "data/build.json"
    told = json.loads(receipt.read_text())
    told["digest"] = "another"
    told["files"] |= {name: len(data) for name, data in earlier.items()}
    receipt.write_text(json.dumps(told))
    if is_killed:
        receipt.unlink()
    rebuild_gallery([output])
    assert [name for name in earlier if (tmp_path / name).exists()] == []
    assert [name for name in mine if (tmp_path / name).exists()] == list(mine)


@pytest.mark.parametrize("name", ["out", "site"])
def test_a_page_of_somebody_else_is_not_written_over(tmp_path: Path, name: str) -> None:
    output = write_output(tmp_path / "out", rows())
    place = tmp_path / name
    place.mkdir(exist_ok=True)
    (place / "index.html").write_text("my own page")
    before = storage.list_tree(str(tmp_path))
    with pytest.raises(ConfigError, match=r"found an index\.html that no gallery has written"):
        rebuild_gallery([output], to=str(place))
    assert storage.list_tree(str(tmp_path)) == before
    assert (place / "index.html").read_text() == "my own page"
    (place / "index.html").unlink()
    rebuild_gallery([output], to=str(place))
    rebuild_gallery([output], to=str(place))
    # In place of one that the gallery has written.
    (place / "index.html").write_text("my own page")
    with pytest.raises(ConfigError, match=r"found an index\.html that no gallery has written"):
        rebuild_gallery([output], to=str(place))
    assert (place / "index.html").read_text() == "my own page"


@pytest.mark.parametrize("damage", ["empty", "zeros"])
def test_a_page_of_ours_that_is_damaged_is_mended(tmp_path: Path, damage: str) -> None:
    output = write_output(tmp_path, rows())
    rebuild_gallery([output])
    before = (tmp_path / "index.html").read_bytes()
    (tmp_path / "index.html").write_bytes(bytes(len(before)) if damage == "zeros" else b"")
    rebuild_gallery([output])
    assert (tmp_path / "index.html").read_bytes() == before


def test_several_outputs_are_compared_below_the_first_or_where_it_is_said(tmp_path: Path) -> None:
    outputs = [write_output(tmp_path / name / "run #1", rows()) for name in ("a", "b")]
    rebuild_gallery(outputs)
    place = tmp_path / "a/run #1/compare"
    read = read_gallery(files_in(place))
    assert [each["name"] for each in read.spine["runs"]] == ["run #1", "run #1 (2)"]
    assert [each["base"] for each in read.spine["runs"]] == ["../", "../../../b/run%20%231/"]
    page = Page((place / "index.html").read_text())
    links = [str(a["href"]) for a in page.all("a") if a.get("class") == "open"]
    assert links[:2] == ["../images/p0.png", "../../../b/run%20%231/images/p0.png"]
    rebuild_gallery(outputs, to=str(tmp_path / "both"))
    bases = [each["base"] for each in read_gallery(files_in(tmp_path / "both")).spine["runs"]]
    assert bases == ["../a/run%20%231/", "../b/run%20%231/"]
    assert not (tmp_path / "b/run #1/data").exists()


def test_the_gallery_of_one_output_may_lie_elsewhere(tmp_path: Path) -> None:
    output = write_output(tmp_path / "run", rows())
    rebuild_gallery([output], to=str(tmp_path / "shown"))
    spine = read_gallery(files_in(tmp_path / "shown")).spine
    assert spine["runs"] == [{"name": "run", "base": "../run/"}]
    assert not (tmp_path / "run/index.html").exists()


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one, other = (write_output(tmp_path / name, rows()) for name in ("one", "other"))
    before = sorted(os.listdir(tmp_path / "other"))
    with pytest.raises(ConfigError, match="expected each output once"):
        rebuild_gallery([one, f"{one}/"])
    with pytest.raises(ConfigError, match="a folder of the gallery's own"):
        rebuild_gallery([one], to=other)
    with pytest.raises(ConfigError, match="a folder of the gallery's own"):
        rebuild_gallery([one, other], to=other)
    with pytest.raises(ConfigError, match="expected the output of a run"):
        rebuild_gallery([one, str(tmp_path / "none")])
    with pytest.raises(ConfigError, match="one disk or in one bucket"):
        rebuild_gallery([one], to="memory://elsewhere")
    assert sorted(os.listdir(tmp_path / "other")) == before
    assert sorted(os.listdir(tmp_path / "one")) == before


def test_in_a_bucket_all_is_as_on_a_disk(tmp_path: Path, bucket: str) -> None:
    here = [write_output(tmp_path / name, rows()) for name in ("a", "b")]
    there = [write_output(f"{bucket}/{name}", rows()) for name in ("a", "b")]
    rebuild_gallery(here)
    assert rebuild_gallery(there) == f"{bucket}/a/compare/index.html"
    listed = storage.list_tree(f"{bucket}/a/compare")
    found = {path: storage.read_bytes(f"{bucket}/a/compare/{path}") for path in listed}
    assert found == files_in(tmp_path / "a/compare")
    with pytest.raises(ConfigError, match="one disk or in one bucket"):
        rebuild_gallery([there[0], "s3://another-bucket/b"])
