"""Manifests as they are read: what a run may open, several files, and rows that are refused alone."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nst import storage
from nst.errors import ConfigError, ManifestError
from nst.manifest.reading import read_manifest
from nst.pipeline import make_plan
from nst.settings import RunSettings
from tests.helpers import csv_bytes, row, write_project


def settings(tmp_path: Path, **values: Any) -> RunSettings:
    return RunSettings(**({"output": str(tmp_path / "out")} | values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"manifest": "http://host.org/m.csv"}, "the manifest: expected a URL of file, s3"),
        ({"manifest": "zip://m.csv::s3://b/k"}, "the manifest: expected a URL of file, s3"),
        ({"manifest": "s3://K:cret@b/m.csv"}, "the manifest: expected a URL without credentials"),
        ({"weights": {"vgg19": "https://h/w.pt"}}, "--weights vgg19: expected a URL of file, s3"),
        ({"output": "memory://out"}, "--output: expected a URL of file, s3"),
        ({"roots": ("in",)}, "--root: expected an absolute path"),
        ({"roots": ("https://h/?sig=cret",)}, "--root: expected a URL without credentials"),
        ({"output": "s3://b/o?token=cret"}, "--output: expected a URL without credentials"),
    ],
)
def test_what_the_run_itself_names_is_held_to_the_schemes(
    tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    path = str(write_project(tmp_path / "in", [row()]))
    manifest = values.pop("manifest", path)
    with pytest.raises(ConfigError) as caught:
        make_plan(manifest, settings(tmp_path, **values))
    assert said in str(caught.value)
    assert "cret" not in str(caught.value)


def test_roots_do_not_bind_the_manifest_the_weights_or_the_output(tmp_path: Path) -> None:
    path = write_project(
        tmp_path / "in", [row(f"{tmp_path}/in/pictures/a.png", style="pictures/s.png")]
    )
    write_project(tmp_path / "in/pictures", [])
    chosen = settings(
        tmp_path, roots=(str(tmp_path / "in/pictures"),), weights={"vgg16": str(path)}
    )
    # Read, and found to be none.
    with pytest.raises(ConfigError, match="expected a safetensors file or a PyTorch state dict"):
        make_plan(str(path), chosen)


def test_a_refused_row_is_in_the_plan_and_its_inputs_are_not_looked_at(tmp_path: Path) -> None:
    rows = [row(id="one"), row("/none/a.png", id="two", backbone="vgg61"), row("", id="../x")]
    path = write_project(tmp_path / "in", rows)
    plan = make_plan(str(path), settings(tmp_path, keep_going=True))
    assert [job.id for job in plan.jobs][:2] == ["one", "two"]
    assert [(each.status, each.reason) for each in plan.failed] == [("failed", "bad_row")] * 2
    assert {each.id for each in plan.failed} == {job.id for job in plan.jobs[1:]}
    assert "column 'backbone': expected one of vgg16" in str(plan.failed[0].error)
    assert [planned.job.id for group in plan.groups for planned in group.jobs] == ["one"]
    assert plan.manifest_digest == hashlib.sha256(path.read_bytes()).hexdigest()


OWN = [
    *("images/a.png", "inputs/a.png", "thumbs/ab/a.png", "records/new/a.png", "locks/a.png"),
    *("steps/x/0010.png", "data/a.js", "assets/a.css", "pages/1.html", "attempts/a.json"),
    *("index.html", "metadata.parquet", "run.json"),
]


@pytest.mark.parametrize("name", OWN)
def test_nothing_that_a_run_writes_is_an_input(tmp_path: Path, name: str) -> None:
    manifest = write_project(tmp_path / "in", [row(f"../out/{name}")])
    with pytest.raises(ManifestError, match="outside the folders that this run writes"):
        read_manifest(str(manifest), settings(tmp_path))


@pytest.mark.parametrize("name", [*OWN, "mine/a.png", "mine/deep/a.png"])
def test_with_keep_going_a_row_that_names_a_file_of_the_output_fails_alone(
    tmp_path: Path, name: str
) -> None:
    says = [row(id="one"), row(f"../out/{name}", id="two"), row(style=f"../out/{name}", id="six")]
    manifest = write_project(tmp_path / "in", says)
    found = read_manifest(str(manifest), settings(tmp_path, keep_going=True))
    assert [job.id for job in found.jobs] == ["one", "two", "six"]
    assert {name: each.reason for name, each in found.refused.items()} == {
        "two": "path_not_allowed",
        "six": "path_not_allowed",
    }


@pytest.mark.parametrize("keep_going", [False, True])
def test_the_folder_of_the_inputs_is_no_output(tmp_path: Path, keep_going: bool) -> None:
    manifest = write_project(tmp_path / "in", [row(), row("../out/a.png")])
    for folder in ("in", "out"):
        chosen = settings(tmp_path, output=f"{tmp_path}/{folder}", keep_going=keep_going)
        with pytest.raises(ConfigError, match="expected a folder without inputs in it"):
            read_manifest(str(manifest), chosen)


def write_files(folder: Path, files: dict[str, list[dict[str, object]]]) -> None:
    """Manifests of these rows, by name, beside the pictures of `write_project`."""
    write_project(folder, [])
    (folder / "manifest.csv").unlink()
    for name, rows in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(csv_bytes(rows))


@pytest.mark.parametrize("folder", ["x [1]", "x*", "x 1"])
def test_a_pattern_in_a_folder_with_brackets_is_held_to_its_roots_and_the_output(
    tmp_path: Path, folder: str
) -> None:
    inside = tmp_path / folder
    write_files(inside, {})
    (inside / "m.yaml").write_text("content: '[ab].png'\nstyle: s.png\n")
    rows = read_manifest(f"{inside}/m.yaml", settings(tmp_path, roots=(str(inside),)))
    assert [job.content for job in rows.jobs] == [f"{inside}/a.png", f"{inside}/b.png"]
    with pytest.raises(ManifestError, match="expected a place in"):
        read_manifest(f"{inside}/m.yaml", settings(tmp_path, roots=(f"{tmp_path}/other",)))
    (inside / "m.yaml").write_text("content: 'out/images/*.png'\nstyle: s.png\n")
    with pytest.raises(ManifestError, match="does not reach into the folders that this run writes"):
        read_manifest(f"{inside}/m.yaml", settings(tmp_path, output=f"{inside}/out"))


@pytest.mark.parametrize(
    ("name", "column", "said"),
    [
        ("a|b.png", "style", "expected a name without '|', which stands between styles in a man"),
        (" c.png", "content", "expected a name without spaces at its ends; found ' c.png'; rename"),
        (" c.png", "style", "expected a name without spaces at its ends; found ' c.png'; rename"),
    ],
)
def test_a_file_that_no_cell_can_name_is_not_read_as_another_one(
    name: str, column: str, said: str, tmp_path: Path
) -> None:
    write_files(tmp_path / "in", {})
    (tmp_path / "in" / name).write_bytes(b"")
    cells = {"content": "b.png", "style": "s.png", column: "'*.png'"}
    text = "".join(f"{column}: {cell}\n" for column, cell in cells.items())
    (tmp_path / "in/m.yaml").write_text(text)
    for keep_going in (False, True):
        with pytest.raises(ManifestError) as caught:
            read_manifest(f"{tmp_path}/in/m.yaml", settings(tmp_path, keep_going=keep_going))
        assert f"column '{column}': {said}" in str(caught.value)


def test_a_content_may_have_a_bar_in_its_name(tmp_path: Path) -> None:
    write_files(tmp_path / "in", {})
    (tmp_path / "in/a|b.png").write_bytes(b"")
    (tmp_path / "in/m.yaml").write_text("content: 'a*b.png'\nstyle: s.png\n")
    (job,) = read_manifest(f"{tmp_path}/in/m.yaml", settings(tmp_path)).jobs
    assert job.content == f"{tmp_path}/in/a|b.png"


@pytest.mark.parametrize("query", ["", "?path=a/b", "?v=1"])
def test_paths_of_a_manifest_on_the_web_are_relative_to_its_folder(
    query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        storage, "read_bytes", lambda *_, **__: csv_bytes([row("x.jpg", "../s.png")])
    )
    chosen = settings(tmp_path, schemes=("file", "https"))
    (job,) = read_manifest(f"https://host.example/m/rows.csv{query}", chosen).jobs
    assert job.content == "https://host.example/m/x.jpg"
    assert job.styles == ("https://host.example/s.png",)


class TestSeveralFiles:
    @pytest.mark.parametrize("ending", ["/", "/*.csv", "/[ab].csv"])
    def test_a_folder_and_a_pattern_are_read_together_in_order(
        self, tmp_path: Path, ending: str
    ) -> None:
        files = {"b.csv": [row(id="three")], "a.csv": [row(id="one"), row("b.png", id="two")]}
        write_files(tmp_path / "in", files)
        rows = read_manifest(f"{tmp_path}/in{ending}", settings(tmp_path))
        assert [(job.row, job.id) for job in rows.jobs] == [(1, "one"), (2, "two"), (3, "three")]
        # The pictures, and what a program left there, are no manifests.
        (tmp_path / "in/._a.csv").write_bytes(b"\0")
        again = read_manifest(f"{tmp_path}/in/", settings(tmp_path))
        assert replace(again, manifest=rows.manifest) == rows
        (tmp_path / "in/b.csv").write_bytes(csv_bytes([row(id="four")]))
        assert read_manifest(f"{tmp_path}/in/", settings(tmp_path)).digest != rows.digest

    def test_every_format_may_be_among_them(self, tmp_path: Path) -> None:
        write_files(tmp_path / "in", {"a.csv": [row(id="one")]})
        (tmp_path / "in/b.jsonl").write_text(json.dumps(row(id="two")))
        (tmp_path / "in/c.yaml").write_text("content: '*.png'\nstyle: s.png\nbackbone: vgg16\n")
        rows = read_manifest(f"{tmp_path}/in/", settings(tmp_path))
        assert [job.row for job in rows.jobs] == list(range(1, 7))
        assert [job.content_name for job in rows.jobs[2:]] == ["a.png", "b.png", "s.png", "t.png"]

    def test_paths_are_relative_to_the_file_that_they_stand_in(self, tmp_path: Path) -> None:
        for name in ("x", "y"):
            write_files(tmp_path / "in" / name, {"rows.csv": [row(id=name)]})
        rows = read_manifest(f"{tmp_path}/in/*/rows.csv", settings(tmp_path))
        assert [job.content for job in rows.jobs] == [f"{tmp_path}/in/{n}/a.png" for n in "xy"]

    @pytest.mark.parametrize("manifest", ["in/*/rows.csv", "in/"])
    def test_rows_that_say_the_same_in_two_folders_are_two_pictures(
        self, manifest: str, tmp_path: Path
    ) -> None:
        says = [row(), row(style="s.png | ../s.png", mask="m.png"), row(init="b.png")]
        for name in ("day=x", "day=y"):
            write_files(tmp_path / "in" / name, {"rows.csv": says})
        jobs = read_manifest(f"{tmp_path}/{manifest}", settings(tmp_path)).jobs
        assert len({job.id for job in jobs}) == len({job.inputs for job in jobs}) == 6
        # Wherever the folder lies, and whichever others there are.
        write_files(tmp_path / "moved/in/day=y", {"rows.csv": says})
        moved = read_manifest(f"{tmp_path}/moved/{manifest}", settings(tmp_path)).jobs
        assert [job.id for job in moved] == [job.id for job in jobs[3:]]

    def test_rows_of_two_folders_with_the_same_pictures_share_them(self, tmp_path: Path) -> None:
        whole = f"{tmp_path}/pictures/s.png"
        for name, content in (("x", "../pictures/a.png"), ("y", "../y/../pictures/a.png")):
            write_files(tmp_path / "in" / name, {"rows.csv": [row(content=content, style=whole)]})
        files = {"rows.csv": [row(content="pictures/a.png", style=whole)]}
        write_files(tmp_path / "in", files)
        jobs = read_manifest(f"{tmp_path}/in/**/rows.csv", settings(tmp_path)).jobs
        assert len(jobs) == 3
        assert len({job.id for job in jobs}) == len({job.inputs for job in jobs}) == 1

    def test_in_one_folder_an_id_is_that_of_the_row_as_it_is_written(self, tmp_path: Path) -> None:
        write_files(tmp_path / "in", {"rows.csv": [row(content="./a.png")]})
        (alone,) = read_manifest(f"{tmp_path}/in/rows.csv", settings(tmp_path)).jobs
        for manifest in ("in/", "in/*.csv", "i*/rows.csv"):
            (job,) = read_manifest(f"{tmp_path}/{manifest}", settings(tmp_path)).jobs
            assert (job.id == alone.id) == (manifest != "i*/rows.csv")

    def test_problems_of_all_files_are_told_with_their_file(self, tmp_path: Path) -> None:
        files = {
            "a.csv": [row(id="one"), row(id="two", steps=0)],
            "b.csv": [row(id="three"), row(id="ONE")],
            "c.csv": [row(id="four")],
        }
        write_files(tmp_path / "in", files)
        with pytest.raises(ManifestError) as caught:
            read_manifest(f"{tmp_path}/in/", settings(tmp_path))
        lines = str(caught.value).splitlines()
        assert [line.partition(";")[0].partition(",")[0] for line in lines] == [
            "a.csv: refused with 1 problem",
            "  line 3",
            "b.csv: refused with 1 problem",
            "  line 3",
        ]
        assert "an id that line 2 of a.csv does not have; found 'ONE'" in lines[3]

    def test_rows_that_fail_alone_name_their_file_and_keep_their_number(
        self, tmp_path: Path
    ) -> None:
        files = {
            "a.csv": [row(id="one")],
            "b.csv": [row(id="two", backbone="vgg61"), row(id="one")],
        }
        write_files(tmp_path / "in", files)
        rows = read_manifest(f"{tmp_path}/in/", settings(tmp_path, keep_going=True))
        assert [job.row for job in rows.jobs] == [1, 2, 3]
        assert rows.jobs[0].id not in rows.refused
        said = [rows.refused[job.id].message for job in rows.jobs[1:]]
        assert said[0].startswith("b.csv: line 2, column 'backbone'")
        assert said[1].startswith("b.csv: line 3, column 'id'")
        assert "line 2 of a.csv" in said[1]

    def test_files_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        for name in ("x", "y"):
            write_files(tmp_path / "in" / name, {"rows.csv": [row(id="one")]})
        with pytest.raises(ManifestError) as caught:
            read_manifest(f"{tmp_path}/in/*/rows.csv", settings(tmp_path))
        assert f"{tmp_path}/in/y/rows.csv: refused" in str(caught.value)
        assert f"line 2 of {tmp_path}/in/x/rows.csv" in str(caught.value)

    def test_what_the_output_holds_is_no_manifest(self, tmp_path: Path) -> None:
        write_files(tmp_path / "in", {"a.csv": [row("../a.png", "../s.png", id="one")]})
        write_files(tmp_path, {"out/metadata.csv": []})
        rows = read_manifest(f"{tmp_path}/*/*.csv", settings(tmp_path))
        assert [job.id for job in rows.jobs] == ["one"]

    @pytest.mark.parametrize("ending", ["in/", "none/", "in/*.csv", "in/rows?.csv"])
    def test_no_files_are_no_manifest(self, tmp_path: Path, ending: str) -> None:
        write_files(tmp_path / "in", {})
        with pytest.raises(ManifestError, match=r"expected files that end in \.csv, .*found none"):
            read_manifest(f"{tmp_path}/{ending}", settings(tmp_path))

    def test_a_file_whose_name_is_the_pattern_is_itself(self, tmp_path: Path) -> None:
        write_files(tmp_path / "in", {"rows[1].csv": [row(id="one")], "rows1.csv": [row(id="two")]})
        rows = read_manifest(f"{tmp_path}/in/rows[1].csv", settings(tmp_path))
        assert [job.id for job in rows.jobs] == ["one"]

    def test_all_files_together_are_held_to_the_number_of_rows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("nst.manifest.reading.MAX_ROWS", 3)
        files = {n: [row(id=f"{n}{i}") for i in range(2)] for n in ("a.csv", "b.csv")}
        write_files(tmp_path / "in", files)
        with pytest.raises(ManifestError, match="at most 3 rows in all files, found 4"):
            read_manifest(f"{tmp_path}/in/", settings(tmp_path))

    def test_more_files_than_are_read_at_a_time(self, tmp_path: Path) -> None:
        files = {f"{n:02}.csv": [row(id=f"row-{n}")] for n in range(40)}
        write_files(tmp_path / "in", files)
        rows = read_manifest(f"{tmp_path}/in/", settings(tmp_path))
        assert [(job.row, job.id) for job in rows.jobs] == [(n + 1, f"row-{n}") for n in range(40)]

    def test_in_a_bucket(self, tmp_path: Path, bucket: str) -> None:
        for name in ("a", "b"):
            cells = row("s3://x/a.png", "s3://x/s.png", id=name)
            storage.write_bytes(f"{bucket}/in/{name}.csv", csv_bytes([cells]))
        storage.write_bytes(f"{bucket}/in/deeper/c.csv", csv_bytes([row(id="c")]))
        for ending in ("in/", "in/*.csv", "*/*.csv"):
            rows = read_manifest(f"{bucket}/{ending}", settings(tmp_path))
            assert [job.id for job in rows.jobs] == ["a", "b"]

    @pytest.mark.parametrize("ending", ["/", "/*/*.csv", "/**/*.csv", "/backbone=*/*.csv"])
    def test_folders_that_are_called_by_a_column_give_it(self, tmp_path: Path, ending: str) -> None:
        cells: dict[str, object] = {
            "content": f"{tmp_path}/in/a.png",
            "style": f"{tmp_path}/in/s.png",
        }
        files: dict[str, list[dict[str, object]]] = {
            "t/backbone=vgg16/m.csv": [cells],
            "t/backbone=vgg19/m.csv": [cells],
            "t/backbone=__HIVE_DEFAULT_PARTITION__/m.csv": [cells],
            "t/_temporary/m.csv": [cells | {"size": 1}],
            "t/.hidden/m.csv": [cells | {"size": 1}],
        }
        write_files(tmp_path / "in", files)
        rows = read_manifest(f"{tmp_path}/in/t{ending}", settings(tmp_path))
        assert [job.backbone for job in rows.jobs] == ["vgg19", "vgg16", "vgg19"]
        one = read_manifest(f"{tmp_path}/in/t/backbone=vgg16/m.csv", settings(tmp_path))
        assert [job.backbone for job in one.jobs] == ["vgg19"]

    def test_a_cell_with_a_value_stands_over_its_folder_and_an_empty_one_does_not(
        self, tmp_path: Path
    ) -> None:
        folder = tmp_path / "in/t/backbone=vgg16/size=64/day=2"
        cells = [
            row(backbone=None, size="", label_day=" "),
            row("b.png", backbone="resnet50", size=96, label_day="3"),
        ]
        write_files(folder, {"m.csv": cells})
        (folder / "n.jsonl").write_text("\n".join(map(json.dumps, cells)))
        rows = read_manifest(f"{tmp_path}/in/t/", settings(tmp_path))
        said = [(job.backbone, job.params.size, job.labels["day"]) for job in rows.jobs]
        assert said == [("vgg16", 64, "2"), ("resnet50", 96, "3")] * 2

    def test_a_required_column_may_be_given_by_a_folder_and_another_is_a_label(
        self, tmp_path: Path
    ) -> None:
        style = f"{tmp_path}/in/s.png".replace("/", "%2F")
        name = f"t/style={style}/Size=64/day=2026-01-02/m.csv"
        write_files(tmp_path / "in", {name: [{"content": f"{tmp_path}/in/a.png", "steps": 3}]})
        (job,) = read_manifest(f"{tmp_path}/in/t/", settings(tmp_path)).jobs
        assert (job.styles, job.params.size) == ((f"{tmp_path}/in/s.png",), 64)
        assert job.labels == {"day": "2026-01-02"}

    def test_what_spark_writes_beside_a_table_is_hidden_and_said(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        files = {name: [row(id=f"is{name[:1]}")] for name in ("a.csv", "_b.csv", ".c.csv")}
        write_files(tmp_path / "in", files)
        for ending in ("", "*.csv"):
            rows = read_manifest(f"{tmp_path}/in/{ending}", settings(tmp_path))
            assert [job.id for job in rows.jobs] == ["isa"]
            assert "_b.csv" in caplog.messages[-1]
        named = read_manifest(f"{tmp_path}/in/_*.csv", settings(tmp_path))
        assert [job.id for job in named.jobs] == ["is_"]
