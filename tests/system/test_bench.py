"""The benchmarks' parts, without the peer and without a clock."""

import csv
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from math import log, sqrt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision import models

from bench import compare, fit, gallery, overhead, peer, plan, store, study
from bench.compare import PAIRS, Judge, Report, Run, Score, prepared
from bench.measuring import in_place, measured
from bench.peer import peer_weights
from nst.job import PictureParams
from nst.output.reading import read_metadata
from nst.painting.weights import load_state, obtain
from tests import servers
from tests.helpers import ROOT, SAMPLES, picture_tensor

PAIR = ("chelsea", "the-scream")
PEER = Run(evaluations=300, loop_s=80, process_s=90, peak_mb=1300, score=Score(0.4, 0.2))
OURS = Run(evaluations=50, loop_s=4, process_s=9, peak_mb=700, score=Score(0.3, 0.1))

# The places of the layers in torchvision's network.
VGG19 = {1: "relu1_1", 6: "relu2_1", 11: "relu3_1", 20: "relu4_1", 22: "relu4_2", 29: "relu5_1"}


def cells(text: str) -> list[list[str]]:
    """The rows of all tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def plain_features(images: Tensor, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's own VGG-19 on what its first convolution takes."""
    network = models.vgg.make_layers(models.vgg.cfgs["E"])
    network.load_state_dict({key.removeprefix("features."): value for key, value in state.items()})
    found = {}
    with torch.no_grad():
        for index, module in enumerate(network):
            images = module(images)
            if index in VGG19:
                found[VGG19[index]] = images.clone()
    return found


def test_the_peers_weights_see_its_pictures_as_ours_see_ours() -> None:
    state = load_state(obtain("vgg19"))
    image = picture_tensor(48, 64)[None]
    # BGR, times 256, less the mean of each channel; and less the mean, by the deviation.
    for_peer = image.flip(1) * 256 - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    theirs = plain_features(for_peer, peer_weights(state))
    expected = plain_features((image - mean) / std, state)
    inside = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(
        theirs["relu1_1"][inside], expected["relu1_1"][inside], rtol=1e-4, atol=1e-2
    )
    for layer in VGG19.values():
        # The border's padding differs by 0.002 of white.
        error = (theirs[layer] - expected[layer]).norm() / expected[layer].norm()
        assert error < 2e-3, layer


def test_content_and_style_score_0_as_themselves(tmp_path: Path) -> None:
    content, style = prepared(PAIR, tmp_path, 64)
    judge = Judge(tmp_path, 64)
    assert judge.score(tmp_path / content, content, style).lpips == pytest.approx(0, abs=1e-8)
    assert judge.score(tmp_path / style, style, style).style == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize(
    ("ours", "is_as_good"),
    [
        ((0.2, 0.2), True),
        ((0.209, 0.209), True),
        ((0.211, 0.1), False),
        ((0.1, 0.211), False),
    ],
)
def test_as_good_means_within_5_percent_in_both(
    ours: tuple[float, float], is_as_good: bool
) -> None:
    assert Score(*ours).is_as_good_as(Score(0.2, 0.2)) == is_as_good


def test_the_distance_is_of_lpips_and_the_logarithm_of_style_in_the_mean() -> None:
    found = compare.distance([Score(0.3, 0.1), Score(0.5, 0.2)], [Score(0.7, 0.3), Score(0.5, 0.2)])
    assert found == pytest.approx(sqrt(0.4**2 + log(3) ** 2) / 2)


def test_the_pairs_use_every_sample() -> None:
    for side, names in zip(("content", "style"), zip(*PAIRS, strict=True), strict=True):
        assert set(names) == {path.stem for path in (SAMPLES / side).glob("*.jpg")}
    assert len(set(PAIRS)) == len(PAIRS) >= 6


# A stand-in for the peer with its command line, whose picture is the more the style, the larger the
# style weight; it leaves a line for each of its runs.
FAKE_PEER = """
import sys
from PIL import Image

def main():
    options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    assert "vgg" in options["-model_file"] and "19" in options["-model_file"]
    open(options["-model_file"]).close()
    print("Running optimization with L-BFGS", flush=True)
    content, style = (Image.open(options[name]) for name in ("-content_image", "-style_image"))
    weight = float(options.get("-style_weight", 100))
    share = weight / (1 + weight)
    Image.blend(content, style.resize(content.size), share).save(options["-output_image"])
    with open("runs.txt", "a") as file:
        print(weight, options.get("-num_iterations"), options["-image_size"], file=file)
"""


def fake_peer(folder: Path) -> Path:
    """A folder to import it from."""
    package = folder / "peer/neural_style"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "neural_style.py").write_text(FAKE_PEER)
    return package.parent


def test_the_peer_runs_with_the_weight_that_comes_closest_to_what_our_defaults_make(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    weights = (0.001, 1.0, 1000.0)
    made = compare.compare(
        [PAIR],
        folder,
        size_px=64,
        evaluations=30,
        style_weights=weights,
        sweep_evaluations=10,
        device="cpu",
        peer_path=fake_peer(tmp_path),
        sheet=tmp_path / "sheet.png",
    )
    with (
        Image.open(tmp_path / "sheet.png") as sheet,
        Image.open(folder / peer.picture(*prepared(PAIR, folder, 64))) as picture,
    ):
        cell = sheet.width // 4
        assert sheet.size == (4 * 324, 244)
        small = sheet.crop((2 * cell, 0, 3 * cell - 4, 240))
        theirs_small = ImageOps.contain(
            picture.convert("RGB"), (320, 240), Image.Resampling.LANCZOS
        )
        assert small.crop((0, 0, *theirs_small.size)).tobytes() == theirs_small.tobytes()
    (ours,), (theirs,) = made.ours, made.peer
    assert made.settings is not None
    chosen = made.settings.style_weight
    assert chosen == min(
        weights, key=lambda weight: compare.distance(made.trials[weight], [ours.score])
    )
    assert [theirs.score] == made.trials[chosen]
    assert made.trials[0.001][0].lpips < made.trials[1000.0][0].lpips
    runs = [line.split() for line in (folder / "runs.txt").read_text().splitlines()]
    sweep = [[str(weight), "10", "64"] for weight in weights]
    assert runs[1:] == [*sweep, [str(chosen), "30", "64"]]

    names = ",".join(prepared(PAIR, folder, 64))
    outputs = []
    for manifest in folder.glob("ours-*.csv"):
        header, *lines = manifest.read_text().split()
        assert header == "content,style"
        if lines == [names]:
            outputs += read_metadata(str(manifest.with_suffix("")))
    # To warm up, by itself, and in the batch, at one size and so the same picture.
    assert len(outputs) == 3
    alone = outputs[0]
    for record in outputs:
        assert record.params == PictureParams(size=64)
        assert (record.backbone, record.outcome.weights_origin) == ("vgg19", "embedded")
    assert ours.evaluations == PictureParams().steps
    assert ours.loop_s in [record.outcome.seconds for record in outputs]
    assert made.precision == alone.outcome.precision
    # The run measured the same picture, before its file rounded it.
    assert ours.score.lpips == pytest.approx(alone.outcome.lpips, rel=0.01)
    assert ours.score.style == pytest.approx(alone.outcome.style_distance, rel=0.01)
    assert made.figures()["loop_ratio"] < 1
    assert made.figures()["batch_apart"] < 0.05
    assert "was given as" not in compare.to_markdown(made)


def test_the_peer_may_do_what_it_does_of_itself(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    given = {"content": "content.png", "style": "style.png", "size_px": 64, "device": "cpu"}
    for name, colour in (("content.png", "red"), ("style.png", "blue")):
        Image.new("RGB", (64, 48), colour).save(folder / name)
    (folder / peer.WEIGHTS_NAME).touch()
    path = fake_peer(tmp_path)
    few = peer.Settings(evaluations=3, style_weight=7.0)
    for settings in (few, None):
        peer.run(**given, settings=settings, folder=folder, path=path)  # type: ignore[arg-type]
    runs = (folder / "runs.txt").read_text().splitlines()
    assert runs == ["7.0 3 64", "100.0 None 64"]


def test_a_report_of_the_peers_own_defaults_says_so() -> None:
    text = compare.to_markdown(replace(report(OURS), settings=None, trials={}))
    assert "its own defaults, which are\nL-BFGS, 1000 evaluations, from noise" in text
    assert "300 evaluations" not in text


def test_the_peers_own_defaults_go_with_no_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--peer-defaults", "--evaluations", "5"])
    with pytest.raises(SystemExit):
        compare.main()
    assert "expected --peer-defaults without --evaluations" in capsys.readouterr().err


def test_a_process_is_measured_without_the_memory_of_this_one(tmp_path: Path) -> None:
    _held = bytearray(b"x" * 300_000_000)
    own = "import time; time.sleep(0.5); print('one'); print('two')"
    usage = measured([sys.executable, "-c", own], cwd=tmp_path)
    assert [line for _, line in usage.lines] == ["one", "two"]
    assert 0 < usage.peak_mb < 100
    waits = "import time; a = bytearray(b'x') * 200_000_000; time.sleep(1)"
    both = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {waits!r}]); {waits}; p.wait()"
    assert measured([sys.executable, "-c", both], cwd=tmp_path).peak_mb > 390
    within = "from bench.measuring import peak_mb; a = b'x' * 200_000_000; del a; print(peak_mb())"
    told = measured([sys.executable, "-c", within])
    assert 200 < float(told.lines[-1][1]) < 280


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        measured([sys.executable, "-c", "raise SystemExit('no such thing')"], cwd=tmp_path)


def test_pictures_are_prepared_at_the_size(tmp_path: Path) -> None:
    for name in prepared(PAIR, tmp_path, 64):
        with Image.open(tmp_path / name) as image:
            assert max(image.size) == 64
            assert image.mode == "RGB"


def weighted(style_weight: float) -> peer.Settings:
    return peer.Settings(evaluations=300, style_weight=style_weight)


def report(*ours: Run) -> Report:
    """A report of one pair for each run of ours."""
    return Report(
        size_px=256,
        machine="A machine.",
        precision="bfloat16",
        settings=weighted(100),
        trials={
            weight: [Score(0.2, 0.1), Score(0.4, 0.4)][: len(ours)] for weight in (10, 100, 1000)
        },
        pairs=[PAIR] * len(ours),
        peer=[PEER] * len(ours),
        ours=ours,
        batch_s=36,
        batch_mb=900,
        batch_scores=[run.score for run in ours],
    )


def test_the_report_says_what_was_measured() -> None:
    text = compare.to_markdown(report(OURS, replace(OURS, loop_s=1, process_s=4.5)))
    assert "nst computed in bfloat16, the peer in float32." in text
    assert [
        *("chelsea, the-scream", "90.00", "80.00", "1300", "0.400", "0.2000"),
        *("9.00", "4.00", "700", "0.300", "0.1000", "yes", "no", "10.0", "20.0"),
    ] in cells(text)
    assert "takes 14.1 times as long as nst by whole processes, and 40.0 times as long in" in text
    assert ["pictures an hour", "40", "200"] in cells(text)
    assert ["seconds for all", "180.0", "36.0"] in cells(text)
    assert ["memory for one picture, MB", "1300", "700"] in cells(text)
    assert ["evaluations of a picture", "300", "50"] in cells(text)
    assert ["evaluations a second in the loop", "3.75", "25.00"] in cells(text)
    assert ["100", "0.300", "0.2000", f"{(0.1 + sqrt(0.01 + log(4) ** 2)) / 2:.3f}"] in cells(text)
    assert ["nst", "0.300", "0.1000", ""] in cells(text)


@pytest.mark.parametrize(
    ("has_units", "said"), [(True, ", 3 in bfloat16."), (False, "does not use bfloat16 on it.")]
)
def test_bfloat16_is_timed_only_where_it_has_hardware(
    has_units: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = []

    def gflops(dtype: torch.dtype, _: torch.device) -> float:
        timed.append(dtype)
        return 3.0

    monkeypatch.setattr(compare, "_matrix_gflops", gflops)
    monkeypatch.setattr(compare, "has_units", lambda _: has_units)
    text = compare.machine(torch.device("cpu"))
    assert "get 3 GFLOP/s in float32 here" in text
    assert text.endswith(said)
    assert (torch.bfloat16 in timed) == has_units


def test_a_picture_that_is_worse_by_one_ruler_is_not_reported_as_good() -> None:
    as_good = replace(OURS, score=Score(0.41, 0.2))
    worse = replace(OURS, score=Score(0.3, 0.22))
    made = report(OURS, as_good, worse)
    text = compare.to_markdown(replace(made, trials={}))
    rows = [row for row in cells(text) if row[0] == "chelsea, the-scream"]
    assert [row[11:13] for row in rows] == [["yes", "no"], ["yes", "yes"], ["no", "no"]]
    assert (
        "is as good as the peer's for 2 of 3 pairs, and the peer's as good as nst's for 1" in text
    )
    assert "not to equal quality" in text
    assert ["LPIPS lower in", "1", "2"] in cells(text)
    # Equal is neither's.
    assert ["style distance lower in", "1", "1"] in cells(text)
    assert "not to equal quality" not in compare.to_markdown(report(OURS, as_good))


def test_a_batch_that_paints_other_pictures_is_told_of() -> None:
    made = report(OURS)
    other = replace(made, batch_scores=[Score(0.3, 0.12)])
    assert made.figures()["batch_apart"] == 0
    assert other.figures()["batch_apart"] == pytest.approx(0.2)
    assert "in both rulers as by itself, within 20.0%" in compare.to_markdown(other)


@pytest.mark.parametrize(("chosen", "is_told"), [(10, True), (100, False), (1000, True)])
def test_a_weight_at_an_end_of_the_list_is_told_of(chosen: float, is_told: bool) -> None:
    text = compare.to_markdown(replace(report(OURS), settings=weighted(chosen)))
    assert ("one beyond may be closer" in text) == is_told
    assert f"style weight {chosen} for all pairs" in text


def test_a_weight_that_was_given_is_not_told_as_chosen() -> None:
    text = compare.to_markdown(replace(report(OURS), settings=weighted(70), trials={}))
    assert "given as 70, and no other was tried" in text


def test_a_cost_is_fitted_so_that_estimates_are_off_by_the_same_factor_both_ways() -> None:
    text = fit.fit_cost("vgg16", [(64, 1.0), (64, 4.0)])
    assert "cost 2.00 fits, mean error 100%; 1 is used, mean error 100%" in text
    assert "mean error 0%" in fit.fit_cost("vgg16", [(64, 1.5)])


def test_a_section_takes_the_open_backend_the_one_before_and_leaves_the_others() -> None:
    text = "# Benchmark\n\nIt.\n\n## Planning\n\nold\n\n### More\n\nold\n\n## The batch\n\nrows\n"
    changed = in_place(text, "Planning", "new\n")
    assert changed == "# Benchmark\n\nIt.\n\n## Planning\n\nnew\n\n## The batch\n\nrows\n"
    assert in_place(changed, "Planning", "new\n") == changed
    assert in_place(changed, "The batch", "others\n") == changed.replace("rows", "others")
    assert in_place(changed, "Another", "it\n") == changed + "\n## Another\n\nit\n"


def test_the_quality_pairs_are_20_ordinary_and_12_hard_ones_of_each_backbone() -> None:
    manifest = ROOT / "bench/quality.csv"
    rows = list(csv.DictReader(manifest.read_text().splitlines()))
    for name in ("vgg16", "vgg19", "resnet50"):
        kinds = [row["label_kind"] for row in rows if row["backbone"] == name]
        assert (kinds.count("ordinary"), kinds.count("hard")) == (20, 12)
    for row in rows:
        for column in ("content", "style"):
            with Image.open(manifest.parent / row[column]) as image:
                assert max(image.size) >= 256


def study_rows() -> list[dict[str, Any]]:
    """Two contents in three styles, content 2 twice as far, by two backbones."""
    return [
        {
            "content": f"c{content}.png",
            "style": f"s{style}.png",
            "backbone": backbone,
            "style_weight": weight,
            "lpips": 0.1 * content,
            "style_distance": 0.1 * style,
            "noise": float(content**2),
        }
        for content, style, (backbone, weight) in product(
            (1, 2), (1, 2, 3), (("vgg16", 1.0), ("vgg19", 2.0))
        )
    ]


def test_the_variance_is_told_apart_by_content_style_and_pair() -> None:
    found = {tuple(row[:2]): row[2:] for row in cells(study.shares(study_rows()))}
    assert found["vgg16", "lpips"] == ["0.1", "0.15", "0.2", "100%", "0%", "0%"]
    assert found["vgg19", "style_distance"] == ["0.1", "0.2", "0.3", "0%", "100%", "0%"]


def test_pairs_that_are_no_matrix_have_no_shares() -> None:
    assert study.shares(study_rows()[1:]).startswith("No shares of the variance")


def test_means_are_of_each_value_and_backbone_and_that_of_noise_is_geometric() -> None:
    (header, _, *rows) = cells(study.means(study_rows(), "style_weight"))
    assert header == ["style_weight", "backbone", "n", "lpips", "style_distance", "noise"]
    assert rows == [
        ["1.0", "vgg16", "6", "0.15 (0.2)", "0.2 (0.3)", "2 (4)"],
        ["2.0", "vgg19", "6", "0.15 (0.2)", "0.2 (0.3)", "2 (4)"],
    ]
    assert ["c1 in s3", "0.100, 0.300", "0.100, 0.300"] in cells(study.by_pair(study_rows()))


def test_a_sheet_has_content_and_style_before_what_was_made_of_them(tmp_path: Path) -> None:
    colours = {"c.png": "red", "s.png": "blue", "a.png": "lime", "b.png": "black"}
    for name, colour in colours.items():
        Image.new("RGB", (32, 24), colour).save(tmp_path / name)
    (tmp_path / "run.json").write_text(json.dumps({"manifest": str(tmp_path / "m.csv")}))
    rows = [
        {"content": "c.png", "style": "s.png", "backbone": name, "picture": f"{picture}.png"}
        for name, picture in (("vgg19", "b"), ("vgg16", "a"))
    ]
    table = pa.Table.from_pylist([row | {"status": "ok"} for row in rows])
    pq.write_table(table, tmp_path / "metadata.parquet")
    made = study.sheet(study.rows(tmp_path, {}), tmp_path, None)
    shown = [made.getpixel((20 + column * made.width // 4, 20)) for column in range(4)]
    assert shown == [(255, 0, 0), (0, 0, 255), (0, 255, 0), (0, 0, 0)]
    assert study.rows(tmp_path, {"backbone": "vgg16"}) == [rows[1] | {"status": "ok"}]


def test_a_sheet_by_a_field_has_a_line_for_each_method(tmp_path: Path) -> None:
    colours = {"c": "red", "s": "blue", "a": "lime", "b": "black", "d": "white", "e": "yellow"}
    for name, colour in colours.items():
        Image.new("RGB", (64, 48), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "run.json").write_text(json.dumps({"manifest": str(tmp_path / "m.csv")}))
    pair = {"content": "c.png", "style": "s.png", "backbone": "vgg19"}
    rows = [
        pair | {"method": method, "size": size, "picture": f"{picture}.png"}
        for method, size, picture in (
            *(("gatys", 256, "a"), ("gatys", 512, "b")),
            *(("pyramid", 256, "d"), ("pyramid", 512, "e")),
        )
    ]
    made = study.sheet(rows, tmp_path, "size", width_px=64)
    shown = [[made.getpixel((68 * x + 20, 52 * y + 20)) for x in (2, 3)] for y in (0, 1)]
    assert shown == [[(0, 255, 0), (0, 0, 0)], [(255, 255, 255), (255, 255, 0)]]


def test_a_picture_without_its_first_is_like_none(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (64, 48), "red").save(tmp_path / f"{name}.png")
    size = {"backbone": "vgg19", "height": 48, "width": 64}
    rows = [
        size | {"content": content, "style": "s.png", "size": px, "picture": f"{picture}.png"}
        for content, px, picture in (("c.png", 256, "a"), ("c.png", 512, "b"), ("d.png", 512, "b"))
    ]
    (_, _, *found) = cells(study.alike(rows, tmp_path, "size", "256", None))
    assert found == [["c", "s", "vgg19", "", "256: 0.000, 512: 0.000"]]


def test_planning_is_measured_on_an_output_in_which_every_other_row_is_done(tmp_path: Path) -> None:
    folder = plan.make(tmp_path / "40", 40)
    for suffix in plan.FORMATS:
        one = plan.measure(folder, suffix)
        assert (one["num_rows"], one["num_done"], one["num_to_make"]) == (40, 20, 20)
        is_ended = suffix == "parquet"
        assert list(one["steps"]) == ["read", "plan", *["finish", "compact"] * is_ended]
        assert all(step[1] >= 0 and step[2] > 10 for step in one["steps"].values())
        text = plan.to_markdown([one])
        assert "not met with 40 rows" in text
        assert f"| 40   | {suffix} " in text
    assert (folder / "out/index.html").exists()
    assert [each.name for each in (folder / "compacted/records").iterdir()] == [
        "part-000002.parquet"
    ]
    assert [each.name for each in (folder / "out/records").iterdir()] == ["part-000001.parquet"]


def test_planning_in_a_bucket_is_measured_where_all_is_done() -> None:
    found = plan.measure_in_bucket(3, servers.moto_url())
    assert (found["num_rows"], found["num_done"]) == (3, 3)
    assert list(found["steps"]) == ["read", "plan"]
    assert found["num_of_inputs"] == 0
    assert 3 <= found["num_requests"] <= 9
    text = plan.to_markdown([found], found)
    assert "no request for an input by itself; not met with 3 rows" in text
    assert "| 3                |" in text


def test_requests_are_told_by_what_they_are_for_and_by_the_picture() -> None:
    few = {("pictures", "PUT"): 2, ("lock", "GET"): 9, ("gallery", "PUT"): 40}
    many = {("pictures", "PUT"): 6, ("lock", "GET"): 1, ("gallery", "PUT"): 40}
    rows = cells(store.to_markdown(few, many, 4))
    assert ["pictures", "PUT", "2", "6", "1.00"] in rows
    assert ["all but the lock", "", "42", "46", "1.00"] in rows


def test_a_made_up_gallery_is_built_and_has_all_of_its_files(tmp_path: Path) -> None:
    gallery.make(tmp_path / "out", 60)
    found = gallery.measure(tmp_path / "out")
    assert found["is_byte_identical"]
    assert found["num_files"] > 5
    records = read_metadata(str(tmp_path / "out"))
    assert len(records) == 60
    for record in records:
        outcome = record.outcome
        assert (outcome.status == "ok") == (outcome.picture is not None)
        if outcome.picture is not None:
            assert (tmp_path / "out" / outcome.picture).exists()
            assert (tmp_path / "out" / f"{outcome.thumbnail}-256.webp").exists()
    assert {record.outcome.status for record in records} == {"ok", "failed"}


def run_of(rows: int, groups: int) -> overhead.Run:
    """Edges of 2 s and 1 ms a row; 0.5 s a group between; 2 ms a row of the processor.

    In more groups the pictures take longer, which is no overhead.
    """
    edges = 2 + 0.001 * rows
    painted_s = 50 + 3 * groups
    return overhead.Run(
        mode="nst run",
        num_rows=rows,
        num_groups=groups,
        wall_s=edges + painted_s + 0.5 * groups,
        before_s=1.5,
        after_s=edges - 1.5,
        painted_s=painted_s,
        own_cpu_s=1 + 0.002 * rows,
        record_s=0.001,
    )


def test_overhead_is_told_apart_by_run_group_and_row() -> None:
    found = overhead.cost([run_of(100, 1), run_of(100, 11), run_of(200, 1)])
    assert (found.run, found.group, found.row) == pytest.approx((2, 0.5, 0.004))
    assert found.of(rows=1000, groups=10) == pytest.approx(11)
    # An overhead of 1.2 s is 2 % of a minute.
    assert overhead.minutes_needed(1.2) == pytest.approx(0.98)
    assert overhead.share(12, 60 * overhead.minutes_needed(12)) == pytest.approx(0.02)


def test_what_a_run_costs_beside_its_pictures_is_measured_and_told() -> None:
    run = overhead.measure("nst run", 2, 1)
    assert run.before_s > 0
    assert run.after_s > 0
    assert run.painted_s > 0
    assert run.own_cpu_s > 0
    assert run.record_s > 0
    text = overhead.to_markdown({"nst run": [run_of(100, 1), run_of(100, 11), run_of(200, 1)]})
    assert "Not measured, but arithmetic" in text
    assert ["`nst run`", "2.00", "500.0", "4.00"] in cells(text)
