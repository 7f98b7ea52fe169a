"""Folders, files, patterns and URLs in place of a manifest, and the pictures in them."""

from pathlib import Path

import pytest

from nst.errors import ConfigError
from nst.manifest.sources import advice_on, schemes_of, source_of
from nst.pictures.formats import PICTURE_SUFFIXES, READ
from nst.storage import write_bytes


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png", "deep/c.png"):
        (folder / name).write_bytes(b"-")
    return folder


def pictures(text: object, output: str = "/elsewhere") -> list[str]:
    return [each.rpartition("/")[2] for each in source_of(str(text), "--content", output).pictures]


def refused(text: object, output: str = "/elsewhere") -> str:
    with pytest.raises(ConfigError) as raised:
        source_of(str(text), "--content", output)
    return str(raised.value)


def test_a_folder_is_the_pictures_directly_in_it(photos: Path) -> None:
    assert pictures(photos) == pictures(f"{photos}/") == ["a.png", "b.JPG"]
    assert source_of(str(photos), "--content", "/elsewhere").num_others == 1


def test_a_pattern_is_its_pictures_outside_the_output(photos: Path) -> None:
    assert pictures(photos / "*") == ["a.png", "b.JPG"]
    assert pictures(photos / "**/*.png") == ["a.png", "c.png"]
    assert pictures(photos / "**/*.png", str(photos / "deep")) == ["a.png"]
    assert "that some file outside the output matches" in refused(photos / "*.gif")


def test_a_file_is_taken_whatever_its_name_and_a_folder_with_brackets_is_a_folder(
    photos: Path,
) -> None:
    assert pictures(photos / "notes.txt") == ["notes.txt"]
    odd = photos.rename(photos.with_name("photos [2024]"))
    assert pictures(odd) == ["a.png", "b.JPG"]


def test_a_manifest_among_the_pictures_is_told_from_them(photos: Path) -> None:
    (photos / "m.CSV").write_text("content,style")
    assert "expected a picture, found the manifest" in refused(photos / "m.CSV")


def test_a_web_url_is_one_picture_of_a_scheme_that_is_allowed_by_typing_it() -> None:
    url = "https://museum.example/a.jpg?size=3"
    assert source_of(url, "--style", "/out").pictures == (url,)
    assert schemes_of([url, "s3://b/k", "/a"]) == ("https",)


@pytest.mark.parametrize("folder", ["cats", "cats/"])
def test_a_folder_of_a_bucket_is_its_pictures(bucket: str, folder: str) -> None:
    for name in ("a.png", "b.txt"):
        write_bytes(f"{bucket}/cats/{name}", b"-")
    assert pictures(f"{bucket}/{folder}") == ["a.png"]
    assert pictures(f"{bucket}/cats/b.txt") == ["b.txt"]
    assert "expected a folder, a file, a pattern" in refused(f"{bucket}/dogs")


def test_a_folder_without_pictures_says_what_it_has_and_which_kinds_are_read(photos: Path) -> None:
    for name in ("a.png", "b.JPG"):
        (photos / name).unlink()
    said = refused(photos)
    assert "expected pictures that end in .jpg, .jpeg" in said
    assert "found 1 other file: notes.txt; of its folders, deep, name those" in said
    (photos / "IMG.HEIC").write_bytes(b"-")
    assert "save those of a phone as JPEG" in refused(photos)
    (photos / "empty").mkdir()
    assert "found an empty folder" in refused(photos / "empty")


def test_a_folder_of_the_output_is_refused(photos: Path) -> None:
    for output in (photos, photos.parent):
        assert "expected a folder outside the output" in refused(photos, str(output))


def test_a_name_that_is_not_there_is_refused_with_what_may_be_meant(photos: Path) -> None:
    assert "a.png" in refused(photos / "A.png")


def test_a_style_whose_name_no_manifest_can_hold_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a|b.png").write_bytes(b"-")
    assert pictures(tmp_path) == ["a|b.png"]
    with pytest.raises(ConfigError, match="without '\\|'"):
        source_of(str(tmp_path), "--style", "/out")


def test_credentials_in_a_url_are_refused_and_not_said() -> None:
    said = refused("s3://KEY:canary@bucket/x")
    assert "without credentials" in said
    assert "canary" not in said


def test_what_was_named_as_a_manifest_is_explained_by_the_line_to_type(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    line = "type nst run --content photos/ --style PAINTINGS/ --output out"
    assert line in advice_on(str(photos), str(photos.parent / "out"))
    assert "nst run photos/a.png PAINTING.jpg -o out.png" in advice_on(str(photos / "a.png"), "-")
    (photos / "none").mkdir()
    assert advice_on(str(photos / "none"), "-") == "; the folder is empty"
    assert advice_on(str(photos.parent / "rows.csv"), "-") == ""


def test_each_format_that_is_read_has_a_suffix() -> None:
    letters = " ".join(PICTURE_SUFFIXES).upper()
    assert not [name for name in READ if f".{name}" not in letters]
