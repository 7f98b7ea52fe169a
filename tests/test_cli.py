"""The command as a user types it: output, errors, exit status."""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import safetensors.torch
import typer

from nst import cli
from nst.cli import exits
from nst.cli.run import _print_report
from nst.errors import NotFoundError
from nst.output.metadata import failure, record_of
from nst.running.reports import RunReport
from tests.galleries import record
from tests.helpers import (
    PATIENCE_S,
    ROOT,
    csv_bytes,
    job,
    nst,
    random_state,
    row,
    started,
    write_project,
)
from tests.test_publishing import write_output


# A process that paints takes seconds to start, and only the first test is about it.
def nst_run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return nst("run", *arguments, "--no-isolate", cwd=cwd)


def test_run_makes_everything_and_exits_0(tmp_path: Path) -> None:
    write_project(tmp_path / "in", [row(id="one"), row("b.png", id="two")])
    # As typed, in a process of its own: with relative paths, from another folder.
    arguments = ("run", "in/manifest.csv", "--output", "out", "--device", "cpu")
    with started(*arguments, cwd=tmp_path) as running:
        printed, said = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, said
    assert "2 of 2 rows ok" in printed
    assert f"Gallery: {(tmp_path / 'out/index.html').as_uri()}" in printed
    assert sorted(p.name for p in (tmp_path / "out/images").iterdir()) == ["one.png", "two.png"]
    again = nst_run("in/manifest.csv", "--output", "out", cwd=tmp_path)
    assert again.returncode == 0
    assert "2 of 2 rows ok, 2 of them from before" in again.stdout


def test_run_with_failed_rows_lists_them_and_exits_3(tmp_path: Path) -> None:
    manifest = write_project(
        tmp_path / "in", [row(id="one"), row("no.png", id="two"), row("no.png", id="three")]
    )
    done = nst_run(manifest, "--output", tmp_path / "out")
    assert done.returncode == 3
    assert "1 of 3 rows ok" in done.stdout
    assert "2 rows failed: input_not_found: cannot read" in done.stdout
    assert "row 2, two\n" in done.stdout
    assert "row 3, three\n" in done.stdout
    assert pq.read_table(tmp_path / "out/metadata.parquet").num_rows == 3


def test_a_bad_manifest_is_refused_with_every_problem_and_exits_2(tmp_path: Path) -> None:
    manifest = write_project(
        tmp_path / "in",
        [
            row(id="a", backbone="vgg61", colour="x"),
            row(id="b", size=7, colour="x"),
            row(id="c", colour="x"),
            row(id="c", colour="x"),
        ],
    )
    for command in (("run", manifest, "--output", tmp_path / "out"), ("plan", manifest)):
        done = nst(*command)
        assert done.returncode == 2
        head, *problems = done.stderr.strip().splitlines()
        assert head == "nst: manifest.csv: refused with 4 problems, nothing was run"
        assert [p.split(":")[0].strip() for p in problems] == [
            "line 1, column 'colour'",
            "line 2, column 'backbone'",
            "line 3, column 'size'",
            "line 5, column 'id'",
        ]
        assert done.stdout == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--set", "size=9"),
            "column 'size': expected a whole number from 32 to 8192, or `content`; found '9'",
        ),
        (("--set", "steps"), "--set: expected FIELD=VALUE; found 'steps'"),
        (("--set", "step=3"), "did you mean 'steps'?"),
        (
            ("--set", "size=64", "--set", "size=96"),
            "--set: expected size once; found 'size=96' too",
        ),
        (("--device", "cuda:256"), "--device cuda:256: found"),
        (("--device", "gpu"), "--device: expected auto, cpu, mps, cuda, or GPUs by their numbers"),
        (("--timeout", "0"), "--timeout: expected greater than 0; found '0'"),
        (("--fail-over", "many"), "--fail-over: expected a number of rows, as 20, or a share"),
        (("--fail-over", "200%"), "--fail-over: expected a number of rows, as 20, or a share of"),
        (("--device", "cuda:99"), "--device cuda:99: found"),
        (("--format", "gif"), "--format: expected 'png', 'jpeg' or 'webp'; found 'gif'"),
        (("--output", ""), "expected a folder or a URL to write to"),
        (("--weights", "vgg61=x"), "weights: expected one of vgg16, vgg19, resnet50"),
        (("--max-batch-pixels", "0"), "--max-batch-pixels: expected greater than"),
        (("--nonsense",), "No such option"),
    ],
)
def test_bad_usage_exits_2_and_runs_nothing(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one")])
    done = nst_run(manifest, "--output", tmp_path / "out", *arguments)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_fault_of_the_store_is_no_fault_of_the_user_and_exits_1(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one")])
    (tmp_path / "out/metadata.parquet").mkdir(parents=True)
    done = nst_run(manifest, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "metadata.parquet" in done.stderr
    assert (tmp_path / "out/images/one.png").exists()


def test_set_stands_over_the_manifest(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one")])
    done = nst_run(manifest, "--output", tmp_path / "out", "--set", "size=48", "--set", "steps=2")
    assert done.returncode == 0, done.stderr
    (made,) = pq.read_table(tmp_path / "out/metadata.parquet").to_pylist()
    assert (made["size"], made["steps"], made["width"], made["evaluations"]) == (48, 2, 48, 2)


def test_plan_prints_groups_and_what_is_done_and_runs_nothing(tmp_path: Path) -> None:
    manifest = write_project(
        tmp_path / "in", [row(id="one"), row(id="two", steps=5), row("no.png", id="three")]
    )
    done = nst("plan", manifest, "--no-estimate")
    assert done.returncode == 0, done.stderr
    assert "3 rows: 2 pictures to make, 0 already done, 1 that cannot run" in done.stdout
    assert "group 1 of 2: vgg16, 48 x 64 px, 3 steps, 1 picture" in done.stdout
    assert "1 row cannot run as things are: cannot read" in done.stdout
    assert {p.name for p in tmp_path.iterdir()} == {"in"}
    nst_run(manifest, "--output", tmp_path / "out", "--set", "steps=5")
    done = nst("plan", manifest, "--output", tmp_path / "out", "--no-estimate")
    assert "1 picture to make, 1 already done" in done.stdout
    assert "  already done\n    two\n" in done.stdout


def test_the_files_of_a_folder_and_of_a_pattern_are_one_manifest(tmp_path: Path) -> None:
    first = write_project(tmp_path / "in", [row(id="one")])
    first.with_name("more.csv").write_bytes(csv_bytes([row("b.png", id="two")]))
    for manifest in ("in/", "in/*.csv", tmp_path / "in/[m]*.csv"):
        done = nst("plan", manifest, "--no-estimate", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("2 rows: 2 pictures to make")
    first.with_name("more.csv").write_bytes(csv_bytes([row("b.png", id="one")]))
    done = nst_run("in/", "--output", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "more.csv: refused with 1 problem" in done.stderr
    assert "expected an id that line 2 of manifest.csv does not have" in done.stderr


def test_a_folder_without_its_slash_is_refused_with_how_to_write_it(tmp_path: Path) -> None:
    write_project(tmp_path / "in", [row(id="one")])
    done = nst("plan", tmp_path / "in")
    assert done.returncode == 2
    assert (
        "found a folder; expected a manifest, or a folder of manifests with a slash" in done.stderr
    )


def test_gallery_is_rebuilt(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one")])
    nst_run(manifest, "--output", tmp_path / "out")
    (tmp_path / "out/index.html").unlink()
    done = nst("gallery", tmp_path / "out")
    assert done.returncode == 0
    assert f"Gallery: {(tmp_path / 'out/index.html').as_uri()}" in done.stdout
    assert (tmp_path / "out/index.html").exists()


def test_a_gallery_of_several_outputs_with_thumbnails_and_plain_pages(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one")])
    for name in ("first", "second"):
        run = nst_run(manifest, "--output", tmp_path / name, "--set", f"seed={len(name)}")
        assert run.returncode == 0, run.stderr
    (thumbnail,) = (tmp_path / "first/thumbs").rglob("*-256.webp")
    thumbnail.unlink()
    # As typed: with relative paths.
    done = nst(
        "gallery", "first", "second", "--to", "both", "--no-static-pages", "--thumbnails",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"Gallery: {(tmp_path / 'both/index.html').as_uri()}" in done.stdout
    assert f"Thumbnails: made for 1 picture of {tmp_path}/first\n" in done.stdout
    assert f"Thumbnails: made for 0 pictures of {tmp_path}/second\n" in done.stdout
    assert thumbnail.exists()
    assert sorted(p.name for p in (tmp_path / "both").iterdir()) == ["assets", "data", "index.html"]
    again = nst("gallery", "first", "second", "--to", "second", cwd=tmp_path)
    assert again.returncode == 2
    assert "choose another with --to" in again.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_gallery_is_served_until_a_signal_and_exits_0(tmp_path: Path, number: int) -> None:
    output = write_output(tmp_path / "out", [record(id="one")])
    with started("gallery", output, "--serve", "--no-open", "--port", "0") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        url = lines[1].removeprefix("Serving: ").strip()
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(url, timeout=30) as page:
            assert page.read() == (tmp_path / "out/index.html").read_bytes()
        process.send_signal(number)
        assert process.wait(60) == 0


def test_a_port_that_is_taken_exits_2(tmp_path: Path) -> None:
    output = write_output(tmp_path / "out", [record(id="one")])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = nst("gallery", output, "--serve", "--no-open", "--port", port)
    assert done.returncode == 2
    assert f"--port {port}: expected one that is free" in done.stderr


def test_the_gallery_of_old_metadata_with_a_credential_is_made_without_it(tmp_path: Path) -> None:
    secret = "AKIAIOSFODNN7EXAMPLE"
    output = write_output(tmp_path / "out", [record(id="one", labels={"note": secret})])
    done = nst("gallery", output)
    assert done.returncode == 0
    found = [p.read_text() for p in (tmp_path / "out").rglob("*") if p.suffix in (".js", ".html")]
    assert found
    assert not any(secret in text for text in found)


@pytest.mark.parametrize("command", ["gallery", "verify", "clean"])
def test_an_output_whose_url_has_a_credential_exits_2_and_does_not_say_it(command: str) -> None:
    for url in ("s3://KEY:canary@bucket/out", "https://host/out?token=canary"):
        done = nst(command, url)
        assert done.returncode == 2
        assert "expected a URL without credentials" in done.stderr
        assert "canary" not in done.stdout + done.stderr


def test_a_gallery_of_nothing_exits_2(tmp_path: Path) -> None:
    done = nst("gallery", tmp_path)
    assert done.returncode == 2
    assert "metadata.parquet: there is no such file" in done.stderr


def test_weights_are_listed_with_how_to_get_the_missing_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    done = nst("weights")
    assert done.returncode == 0
    assert "vgg16: embedded" in done.stdout
    assert "vgg19: embedded" in done.stdout
    assert "resnet50: missing" in done.stdout
    assert f"put that file at {tmp_path}/hub/checkpoints/resnet50" in done.stdout
    assert "--weights resnet50=FILE-OR-URL" in done.stdout


def test_weights_are_listed_with_their_topology(tmp_path: Path) -> None:
    path = tmp_path / "r.safetensors"
    safetensors.torch.save_file(random_state("resnet50"), path, {"topology": "caffe"})
    done = nst("weights", "--weights", f"resnet50={path}")
    assert f"resnet50: file, {path}\n" in done.stdout
    assert "    topology caffe\n" in done.stdout
    done = nst("weights", "--weights", f"resnet50={path}#topology=keras")
    assert (
        "resnet50: missing\n    --weights: weights of resnet50: expected torchvision or caffe"
        in (done.stdout)
    )


def test_a_run_and_what_verifies_it_answer_machines_with_one_document(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one"), row("no.png", id="two")])
    done = nst_run(manifest, "--output", tmp_path / "out", "--json")
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    assert (told["command"], told["num_rows"], told["num_ok"], told["num_made"]) == ("run", 2, 1, 1)
    assert told["failed_by_reason"] == {"input_not_found": 1}
    (failed,) = told["failed"]
    assert (failed["row"], failed["id"], failed["reason"]) == (2, "two", "input_not_found")
    assert told["images_per_s"] == pytest.approx(1 / told["wall_s"])
    assert told["gallery"] == (tmp_path / "out/index.html").as_uri()
    assert "1 of 2 rows ok" in done.stderr
    (tmp_path / "out/images/one.png").write_bytes(b"")
    done = nst("verify", tmp_path / "out", "--json")
    assert done.returncode == 3
    told = json.loads(done.stdout)
    assert (told["num_good"], told["redone"]) == (0, ["one"])
    assert told["findings"][0]["path"] == "images/one.png"


def test_a_plan_says_what_it_takes(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one")])
    done = nst("plan", manifest, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^about \d+ s on this CPU, 1\.\d GB \(an estimate", done.stdout, re.MULTILINE)
    assert re.search(r"3 steps, 1 picture, about \d+ s, 1\.\d GB\n", done.stdout)
    done = nst("plan", manifest, "--no-estimate", "--json")
    told = json.loads(done.stdout)
    assert (told["num_to_make"], told["estimate"]) == (1, None)
    assert done.stderr == ""
    done = nst("plan", manifest, "--device", "cuda:99")
    assert done.returncode == 2
    assert "--device cuda:99: found" in done.stderr


@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_error_is_a_document_too(tmp_path: Path, command: str) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one", size=9)])
    output = ("--output", tmp_path / "out")
    done = nst(command, manifest, *output, "--json")
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert (told["command"], told["exit_status"]) == (command, 2)
    assert "column 'size'" in told["error"]
    assert f"nst: {told['error']}" in done.stderr


def test_weights_answer_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    told = json.loads(nst("weights", "--json").stdout)
    found = {each["backbone"]: each for each in told["backbones"]}
    assert found["vgg16"]["origin"] == found["vgg19"]["origin"] == "embedded"
    assert "--weights resnet50=FILE-OR-URL" in found["resnet50"]["error"]


ARGUMENTS = ["places", "file", "output", "outputs"]
COMMANDS = [
    *("run", "plan", "init", "status", "stop", "gallery", "sheet", "verify", "clean", "weights"),
]


def test_help_has_a_whole_sentence_for_each_command() -> None:
    done = nst("--help")
    _, listed = done.stdout.split("Commands:\n")
    said = dict(line.split(maxsplit=1) for line in listed.strip().splitlines())
    assert sorted(said) == sorted(COMMANDS)
    assert all(re.fullmatch(r"[A-Z].*[^.]\.", each) for each in said.values()), said


def test_the_readme_has_every_option_and_every_exit_status() -> None:
    readme = (ROOT / "README.md").read_text()
    section = readme.partition("### The command line")[2].partition("## Deploy")[0]
    told = set(re.findall(r"--[a-z][a-z-]*", section))
    for command in typer.main.get_group(cli.app).commands.values():
        for option in command.params:
            names = {*option.opts, *option.secondary_opts} - set(ARGUMENTS)
            assert not names or names & told, f"nst {command.name}: {names}"
    own = {value for name, value in vars(exits).items() if name.startswith("EXIT_")}
    rows = re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE)
    assert {int(each) for row in rows for each in row.split(",")} == {0, *own, 129, 130, 143}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    done = nst(command, "--help")
    assert done.returncode == 0
    assert f"Example: nst {command} " in " ".join(done.stdout.split())


def test_help_and_a_plan_wait_for_neither_torch_nor_prefect(tmp_path: Path) -> None:
    manifest = write_project(tmp_path, [row(id="one")])
    code = (
        "import sys; from nst.cli import app\n"
        f"app(['plan', {str(manifest)!r}, '--no-estimate'], standalone_mode=False)\n"
        "print(sorted({'torch', 'torchvision', 'prefect'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_more_failed_rows_than_are_allowed_end_a_run_early(tmp_path: Path) -> None:
    rows = [row(id="one"), row("no.png", id="two"), row("gone.png", id="three")]
    manifest = write_project(tmp_path / "in", rows)
    out = tmp_path / "out"
    done = nst_run(manifest, "--output", out, "--fail-over", "1")
    assert done.returncode == 4, done.stderr
    assert "more rows failed than --fail-over 1 allows" in done.stderr
    assert "2 rows have failed, more than the 1 that --fail-over allows" in done.stdout
    assert not (out / "images").exists()
    # Two thirds are two rows, which are as many as may fail.
    done = nst_run(manifest, "--output", out, "--fail-over", "67%")
    assert done.returncode == 3, done.stderr
    assert (out / "images/one.png").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--runner", "slurm"), "--runner: expected one of threads, ray, dask; found 'slurm'"),
        (("--runner", "dask"), "--runner dask: expected --prefect with it"),
        (("--runner-address", "h:1"), "expected --runner ray or --runner dask with it"),
    ],
)
def test_a_runner_that_cannot_be_is_refused(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = nst_run(tmp_path / "m.csv", "--output", tmp_path / "out", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_failed_rows_that_are_not_listed_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    kept = [record_of(job(row=n), failure("one", NotFoundError("gone"))) for n in (2, 4)]
    report = RunReport(
        num_rows=500,
        num_ok=1,
        num_done_before=0,
        failed_by_reason={"input_not_found": 499},
        failed=tuple(kept),
        gallery_url="g",
        metadata_url="m",
    )
    _print_report(report)
    assert capsys.readouterr().out.splitlines() == [
        "1 of 500 rows ok",
        "The first 2 of 499 failed rows; the metadata has all of them",
        "2 rows failed: input_not_found: gone",
        "    row 2, one",
        "    row 4, one",
        "rows  status",
        "   1  ok",
        " 499  failed, input_not_found",
        "Metadata: m",
        "Gallery: g",
    ]


def test_a_folder_that_hides_the_flows_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nst_flows").mkdir()
    (tmp_path / "nst_flows/__init__.py").write_text("")
    for name in [name for name in sys.modules if name.partition(".")[0] == "nst_flows"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    manifest = write_project(tmp_path / "in", [row(id="one")])
    done = nst_run(manifest, "--output", tmp_path / "out", "--prefect")
    del sys.modules["nst_flows"]
    assert done.returncode == 2
    assert (
        f"nst: --prefect: expected the package nst_flows of nst, found {tmp_path}/nst_flows without "
        "nst_flows.local; rename that folder"
    ) in done.stderr
