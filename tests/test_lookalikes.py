"""Names that are not there beside those that may have been meant: found where possible, or said."""

import unicodedata
from pathlib import Path

import pytest

from nst import storage
from nst.errors import ConfigError, NotFoundError
from nst.manifest.access import Access
from nst.manifest.reading import read_manifest
from nst.pipeline import make_plan
from nst.settings import RunSettings
from nst.storage import lookalikes
from nst.storage.lookalikes import hint
from tests.helpers import picture_bytes, write_project
from tests.helpers import row as row_of

NFC, NFD = (unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("there", "asked", "said"),
    [
        (NFC, NFD, r"; there is 'caf\xe9.png', which looks the same as 'cafe\u0301.png'"),
        (NFD, NFC, r"; there is 'cafe\u0301.png', which looks the same as 'caf\xe9.png'"),
        (f"{NFD}.d/a.png", f"{NFC}.d/a.png", r"; there is 'cafe\u0301.png.d', which looks the same"),
        ("a.png", "a\u200b.png", r"; there is 'a.png', which looks the same as 'a\u200b.png'"),
        ("a.png", "A.PNG", "; there is 'a.png', with other capitals"),
        ("in/a.png", "in\\a.png", "; there is 'in/a.png', with / between folders"),
        ("my photo.png", "my%20photo.png", "; there is 'my photo.png', since only a URL is percent"),
        ("a.png", "b\u200b.png", "; the name has U+200B in it, which cannot be seen"),
        ("a.png", "in\\b.png", "; between folders stands /, and a backslash is part of a name"),
        ("a.png", "~b.png", "; a ~ is part of a name, and means the home folder only as ~/"),
        ("a.png", NFC, "; its letters with accents can be written in two ways"),
        ("a.png", "none/a.png", ""),
        ("a.png", "b.png", ""),
    ],
)  # fmt: skip
def test_what_is_missing_is_told_with_what_looks_like_it(
    tmp_path: Path, there: str, asked: str, said: str
) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_bytes(b"x")
    found = hint(str(tmp_path / asked), tmp_path / asked)
    assert found.startswith(said) if said else found == ""


@pytest.mark.parametrize("form", ["..%2Fsecret.txt", "..\\secret.txt", "{quoted}", "{backslashed}"])
def test_no_hint_tells_whether_there_is_a_file_elsewhere(tmp_path: Path, form: str) -> None:
    """A stranger's manifest would learn of files outside of every `--root`."""
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"x")
    (tmp_path / "root").mkdir()
    quoted, backslashed = str(secret).replace("/", "%2F"), str(secret).replace("/", "\\")
    asked = tmp_path / "root" / form.format(quoted=quoted, backslashed=backslashed)
    assert "there is" not in hint(str(asked), asked)


def test_what_is_there_but_no_file_needs_no_hint(tmp_path: Path) -> None:
    (tmp_path / NFC).mkdir()
    assert hint(str(tmp_path / NFC), tmp_path / NFC) == ""


def test_a_very_large_folder_is_not_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr(lookalikes, "_MAX_NAMES", 1)
    assert hint("A.png", tmp_path / "A.png") == ""


def test_of_a_bucket_it_is_said_how_names_can_differ() -> None:
    assert hint(f"s3://b/{NFC}", None).startswith("; its letters with accents")
    assert "U+FEFF" in hint("s3://b/\ufeffa.png", None)
    assert hint("s3://b/a.png", None) == ""


def test_a_row_and_a_manifest_that_are_missing_say_it(tmp_path: Path) -> None:
    path = write_project(tmp_path / "in", [row_of("A.png", id="one")])
    settings = RunSettings(output=str(tmp_path / "out"))
    (failed,) = make_plan(str(path), settings).failed
    assert failed.reason == "input_not_found"
    assert "A.png: there is no such file or object; there is 'a.png', with other" in str(
        failed.error
    )
    with pytest.raises(NotFoundError), storage.hinting("s3://b/a"):
        raise NotFoundError("as it is")


def test_a_file_url_means_the_same_in_a_row_as_for_a_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "my pictures"
    path = write_project(folder, [])
    (folder / "50%25.png").write_bytes(picture_bytes(48, 64))
    url = f"file://{tmp_path}/my%20pictures"
    settings = RunSettings(output=str(tmp_path / "out"), roots=(str(folder),))
    rows = [row_of(f"{url}/a.png", f"{url}/s.png"), row_of(f"{url}/50%2525.png", "s.png")]
    Path(path).write_text(
        "content,style,size,steps\n"
        + "".join(f"{row['content']},{row['style']},48,1\n" for row in rows)
    )
    plan = make_plan(str(path), settings)
    assert (plan.num_pictures_to_make, plan.failed) == (2, ())
    assert storage.read_bytes(f"{url}/a.png") == (folder / "a.png").read_bytes()
    (folder / "m.yaml").write_text(f"content: '{url}/[ab].png'\nstyle: s.png\n")
    found = read_manifest(f"{url}/m.yaml", settings)
    assert [job.content for job in found.jobs] == [f"{folder}/a.png", f"{folder}/b.png"]


def test_what_is_percent_encoded_leads_out_of_no_root(tmp_path: Path) -> None:
    access = Access(("file",), (str(tmp_path / "in"),))
    assert access.objection(f"file://{tmp_path}/in/a%20b.png") is None
    for way in ("in/../x.png", "in/%2e%2e/x.png", "in/%2E%2E%2Fx.png", "%69n2/x.png"):
        assert "a place in" in str(access.objection(f"file://{tmp_path}/{way}")), way


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("s3:/bucket/key", "s3://bucket/key"),
        ("S3:bucket/key", "s3://bucket/key"),
        ("s3:\\\\bucket\\key", "s3://bucket\\key"),
        ("https:/host/a.png", "https://host/a.png"),
        ("file:/tmp/a.png", "file:///tmp/a.png"),
        ("s3://bucket/key", None),
        ("s3/bucket", None),
        ("folder:/a.png", None),
        ("s3:", None),
    ],
)
def test_a_url_with_one_slash_is_no_path(text: str, meant: str | None) -> None:
    assert storage.url_meant_by(text) == meant
    objection = Access(("file", "s3", "https")).objection_to_kind(text)
    if meant is None:
        assert "behind the scheme" not in str(objection)
        return
    assert objection == f"{meant!r}, with :// behind the scheme"
    with pytest.raises(ConfigError, match="with :// behind the scheme, found"):
        storage.absolute(text)
