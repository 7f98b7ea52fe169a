"""Runs that start from pictures by their names, as a user types them."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from nst import pipeline, sampling, starting
from nst.cli.printing import open_page
from nst.errors import ConfigError
from nst.manifest.matrix import Matrix, to_text
from nst.settings import RunSettings
from nst.starting import Typed
from tests.helpers import nst, picture_bytes, refuse_looks

QUICK = ("--set", "size=64", "--set", "steps=2", "--backbone", "vgg16")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos beside another file, and a painting."""
    for seed, name in enumerate(("photos/a.png", "photos/b.png", "paintings/s.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture_bytes(48, 64, seed=seed))
    (tmp_path / "photos/notes.txt").write_text("-")
    return tmp_path


def matrix(*contents: str, **params: str) -> Matrix:
    return Matrix(contents=contents, styles=("/s.png",), backbones=("vgg19",), params=params)


def test_two_folders_are_painted_and_the_manifest_that_is_kept_finds_all_done(folder: Path) -> None:
    said = ("--content", "photos/", "--style", "paintings", "--output", "out")
    done = nst("run", *said, *QUICK, "--no-isolate", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (
        "2 contents x 1 style x 1 backbone = 2 pictures (1 other file left out)\n"
        "  content: a.png, b.png\n  style: s.png\n  backbone: vgg16\n"
        f"Manifest: {folder}/out/manifest.yaml\n"
    ) in done.stdout
    rows = pq.read_table(folder / "out/metadata.parquet").to_pylist()
    assert {row["manifest"] for row in rows} == {"manifest.yaml"}
    assert {(row["backbone"], row["size"], row["steps"]) for row in rows} == {("vgg16", 64, 2)}
    for again in (("out/manifest.yaml", "-o", "out"), (*said, *QUICK)):
        done = nst("plan", *again, "--output", "out", "--no-estimate", cwd=folder)
        assert "2 rows: 0 pictures to make, 2 already done" in done.stdout
    done = nst("verify", "out", cwd=folder)
    assert "2 pictures as recorded" in done.stdout
    assert nst("clean", "out", cwd=folder).stdout.startswith("0 files removed")


def test_one_picture_never_replaces_an_input_by_another_name(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "photos")
    before = (folder / "photos/a.png").read_bytes()
    typed = ("photos/a.png", "paintings/s.png", "-o", "link/a.png", "--replace", *QUICK)
    done = nst("run", *typed, cwd=folder)
    assert done.returncode == 2
    assert "expected another file than its inputs" in done.stderr
    assert (folder / "photos/a.png").read_bytes() == before


def test_a_sample_of_pictures_of_their_contents_size_is_small(folder: Path) -> None:
    rows = "content,style,size\nphotos/a.png,paintings/s.png,content\n"
    (folder / "m.csv").write_text(rows)
    plan = pipeline.make_plan(str(folder / "m.csv"), RunSettings(output="-"))
    (job,) = sampling.chosen(plan, 1)
    assert sampling._small(job).params.size == sampling.SAMPLE_PX


def test_one_picture_leaves_its_file_and_nothing_else(folder: Path) -> None:
    before = {path.name for path in folder.iterdir()}
    typed = ("photos/a.png", "paintings/s.png", "-o", "out.jpg", *QUICK)
    done = nst("run", *typed, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["picture"] == str(folder / "out.jpg")
    assert {path.name for path in folder.iterdir()} == before | {"out.jpg"}
    with Image.open(folder / "out.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (64, 48))
    again = nst("run", *typed, cwd=folder)
    assert again.returncode == 2
    assert "expected a name that is free" in again.stderr


def test_one_picture_that_cannot_be_made_leaves_nothing_and_exits_3(folder: Path) -> None:
    done = nst("run", "photos/notes.txt", "paintings/s.png", "-o", "out.png", "--json", cwd=folder)
    assert done.returncode == 3
    assert json.loads(done.stdout)["exit_status"] == 3
    assert "no picture was made, not_an_image: " in done.stderr
    assert not (folder / "out.png").exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ((), "expected what to paint, found none; type nst run MANIFEST"),
        (("--content", "photos"), "expected --style beside --content"),
        (("--content", "photos/a.png", "photos/b.png", "--style", "s"), "put a pattern in quotes"),
        (("photos/a.png", "photos/b.png", "s.png"), "found 3 names, 'photos/a.png'"),
        (("rows.csv", "--backbone", "vgg16"), "--backbone: expected --content and --style"),
        (("photos", "paintings", "--backbone", "vgg61"), "--backbone: expected vgg16, vgg19"),
        (("photos", "paintings", "--set", "stepz=3"), "did you mean 'steps'?"),
        (("photos", "paintings", "-o", "out.png"), "--output: expected a folder for 2 pictures"),
        (
            ("photos/a.png", "paintings", "-o", "photos/a.png", "--replace"),
            "--output: expected another file than its inputs",
        ),
        (("photos/a.png", "paintings", "-o", "x.png", "--prefect"), "--prefect: expected a folder"),
        (("photos",), "to paint them, type nst run --content photos/ --style PAINTINGS/"),
        (("photos/",), "to paint them, type nst run --content photos/ --style PAINTINGS/"),
        (("photos/a.png",), "to paint one picture, type nst run photos/a.png PAINTING.jpg"),
    ],
)
def test_bad_usage_exits_2_with_what_to_type(
    folder: Path, typed: tuple[str, ...], said: str
) -> None:
    output = () if "-o" in typed else ("-o", "out")
    done = nst("run", *typed, *output, cwd=folder)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert {path.name for path in folder.iterdir()} == {"photos", "paintings"}


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (("photos",), "nst run --content photos/ --style PAINTINGS/ --output OUTPUT"),
        (("photos/",), "nst run --content photos/ --style PAINTINGS/ --output OUTPUT"),
        (("photos/a.png",), "nst run photos/a.png PAINTING.jpg -o out.png"),
        (("photos/a.png", "paintings/s.png"), "nst run photos/a.png paintings/s.png -o out.png"),
        (("photos", "paintings"), "nst run photos paintings --output output"),
        (
            ("--content", "photos/*.png", "--style", "paintings", "--set", "size=64", "--only"),
            "nst run --content 'photos/*.png' --style paintings --output output --set size=64 --only",
        ),
        (("rows.csv",), "nst run rows.csv --output output"),
        (("s3://bucket/rows.csv",), "nst run s3://bucket/rows.csv --output output"),
    ],
)
def test_a_missing_output_is_answered_with_the_whole_line(
    folder: Path, typed: tuple[str, ...], line: str
) -> None:
    done = nst("run", *typed, cwd=folder)
    assert done.returncode == 2
    assert "--output: expected a folder or a URL to write to, found none; " in done.stderr
    assert f"type {line}" in done.stderr.replace("\n", " ")
    assert {path.name for path in folder.iterdir()} == {"photos", "paintings"}


def test_backbones_are_meant_however_they_are_written(folder: Path) -> None:
    typed = Typed(places=("photos", "paintings"), backbones=("VGG-19", "vgg16", "vgg19"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = starting.named(typed, {}, "/out")
    assert found.matrix.backbones == ("vgg19", "vgg16")
    assert found.matrix.num_rows == 4


def test_no_run_replaces_rows_or_edits_of_another(tmp_path: Path) -> None:
    def place(wanted: Matrix) -> str:
        return Path(starting.place_of(wanted, str(tmp_path))).name

    one, both, other = matrix("/a.png"), matrix("/a.png", "/b.png"), matrix("/c.png")
    assert place(one) == "manifest.yaml"
    (tmp_path / "manifest.yaml").write_bytes(to_text(one))
    assert place(one) == place(both) == "manifest.yaml"
    assert place(other) == place(matrix("/a.png", size="64")) == "manifest-2.yaml"
    (tmp_path / "manifest-2.yaml").write_bytes(to_text(other))
    assert place(other) == "manifest-2.yaml"
    (tmp_path / "manifest.yaml").write_bytes(to_text(one) + b"# mine\n")
    assert place(one) == "manifest-3.yaml"


def test_a_flow_reads_a_matrix_elsewhere_until_the_output_is_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, bool, str]] = []

    def flow(manifest: str, *_: object, draft: str, **__: object) -> None:
        told.append((manifest, Path(manifest).exists(), Path(draft).read_text()))
        raise ConfigError("another run is active")

    monkeypatch.setattr("nst.cli.run._flow", lambda: flow)
    done = nst("run", "photos", "paintings", "-o", "out", "--prefect", *QUICK, cwd=folder)
    assert "another run is active" in done.stderr
    ((manifest, is_there, draft),) = told
    assert (manifest, is_there) == (str(folder / "out/manifest.yaml"), False)
    assert "photos/a.png" in draft


def test_a_folder_whose_name_ends_like_a_picture_is_a_folder(tmp_path: Path) -> None:
    assert starting.picture_format(str(tmp_path / "x.PNG")) == "png"
    assert starting.picture_format("s3://bucket/x.jpeg") == "jpeg"
    (tmp_path / "x.png").mkdir()
    for folder in (tmp_path / "x.png", "new.png/", "out", "out.gif"):
        assert starting.picture_format(str(folder)) is None


def test_words_that_do_not_go_together_are_refused_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="expected --content beside --style"):
        Typed(styles=["paintings"])


def test_an_output_with_credentials_is_refused_before_it_is_looked_into(folder: Path) -> None:
    for command in ("run", "plan"):
        typed = (command, "photos", "paintings", "--output", "s3://KEY:canary@bucket/out")
        done = nst(*typed, cwd=folder)
        assert done.returncode == 2
        assert "--output: expected a URL without credentials" in done.stderr
        assert "canary" not in done.stdout + done.stderr


def test_a_browser_is_opened_on_what_it_can_open(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr("webbrowser.open", browse)
    open_page("file:///out/index.html")
    open_page("s3://bucket/out/index.html")
    assert opened == ["file:///out/index.html"]


def test_an_example_is_written_once(folder: Path) -> None:
    assert nst("init", cwd=folder).returncode == 0
    done = nst("init", cwd=folder)
    assert done.returncode == 2
    assert "expected a name that is free" in done.stderr
    assert (folder / "manifest.yaml").read_text().startswith("# A manifest")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ("run", "HERS/x.jpg", "paintings/s.png", "-o", "o.png"),
            r"expected a folder, a file, a pattern or a URL of pictures; cannot read .*x\.jpg",
        ),
        (
            ("run", "photos/a.png", "paintings/s.png", "-o", "HERS/o.png"),
            r"--output: expected a name that is free; cannot look at .*o\.png: .* may not read it",
        ),
        (
            ("run", "photos/a.png", "paintings/s.png", "-o", f"{'n' * 300}.png"),
            r"--output: expected a name that the disk can have, found one that is too long",
        ),
        (("init", "HERS/m.csv"), r"FILE: expected a name that is free; cannot look at .*m\.csv"),
        (("init", f"{'n' * 300}.csv"), "FILE: expected a name that the disk can have"),
    ],
)
def test_a_place_that_this_user_or_the_disk_cannot_use_exits_2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, typed: tuple[str, ...], said: str
) -> None:
    (folder / "hers").mkdir()
    refuse_looks(monkeypatch, folder / "hers")
    done = nst(*(each.replace("HERS", str(folder / "hers")) for each in typed), cwd=folder)
    assert done.returncode == 2
    assert re.search(said, " ".join(done.stderr.split()))
    assert {each.name for each in folder.iterdir()} == {"hers", "paintings", "photos"}
