"""The benchmark's parts, without the peer and without a clock."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from math import log, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import models

from bench import overhead, plan, score
from bench.compare import Bench, to_json
from bench.estimate import Point, fitted_cost, mean_error
from bench.machine import Machine
from bench.pairs import PAIRS, Pair, Settings, prepare
from bench.peer import peer_weights
from bench.process import measured
from bench.report import Batch, Comparison, Report, Run, Scored, Sweep, Trial, to_markdown
from bench.score import Ruler, Score
from bench.sections import in_place
from bench.traced import Beside, Segment, Trace
from nst.job import PictureParams
from nst.output.metadata import metadata_from_parquet
from nst.painting.weights import load_state, obtain
from nst.running import worker
from tests import servers
from tests.helpers import SAMPLES, picture_tensor

PAIR = Pair("chelsea", "the-scream")
PEER = Run(evaluations=300, loop_s=80, process_s=90, peak_mb=1300, score=Score(0.4, 0.2))
OURS = Run(evaluations=50, loop_s=4, process_s=9, peak_mb=700, score=Score(0.3, 0.1))

# The places of the layers in torchvision's networks.
VGG16 = {1: "relu1_1", 3: "relu1_2", 6: "relu2_1", 8: "relu2_2", 11: "relu3_1"}
VGG16 |= {15: "relu3_3", 18: "relu4_1", 22: "relu4_3", 25: "relu5_1", 29: "relu5_3"}
VGG19 = {1: "relu1_1", 6: "relu2_1", 11: "relu3_1", 20: "relu4_1", 22: "relu4_2", 29: "relu5_1"}


@cache
def ruler() -> Ruler:
    return score.load_ruler()


def as_torchvision_prepares(image: Tensor) -> Tensor:
    """[1,3,H,W] in [0, 1] -> less the mean of each channel, by its deviation."""
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    return (image - mean) / std


def as_the_peer_prepares(image: Tensor) -> Tensor:
    """[1,3,H,W] in [0, 1] -> BGR, times 256, less the mean of each channel."""
    return image.flip(1) * 256 - torch.tensor([103.939, 116.779, 123.68])[:, None, None]


def plain_features(
    images: Tensor, state: Mapping[str, Tensor], layers: Mapping[int, str] = VGG16
) -> dict[str, Tensor]:
    """torchvision's own VGG on what its first convolution takes, in the precision of `images`."""
    configuration = models.vgg.cfgs["E" if layers is VGG19 else "D"]
    network = models.vgg.make_layers(configuration).to(images.dtype)
    network.load_state_dict({key.removeprefix("features."): value for key, value in state.items()})
    found = {}
    with torch.no_grad():
        for index, module in enumerate(network):
            images = module(images)
            if index in layers:
                found[layers[index]] = images.clone()
    return found


def test_the_peers_weights_see_its_pictures_as_ours_see_ours() -> None:
    state = load_state(obtain("vgg19"))
    image = picture_tensor(48, 64)[None]
    theirs = plain_features(as_the_peer_prepares(image), peer_weights(state), VGG19)
    expected = plain_features(as_torchvision_prepares(image), state, VGG19)
    inside = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(
        theirs["relu1_1"][inside], expected["relu1_1"][inside], rtol=1e-4, atol=1e-2
    )
    for layer in VGG19.values():
        # The border's padding differs by 0.002 of white.
        error = (theirs[layer] - expected[layer]).norm() / expected[layer].norm()
        assert error < 2e-3, layer


def test_the_score_agrees_with_double_precision() -> None:
    content, style = picture_tensor(48, 64)[None], picture_tensor(56, 40, seed=1)[None]
    image = 0.5 * content + 0.5 * picture_tensor(48, 64, seed=2)[None]

    def reference(pixels: Tensor) -> dict[str, NDArray[np.float64]]:
        found = plain_features(as_torchvision_prepares(pixels).double(), ruler().weights)
        return {layer: features[0].flatten(1).numpy() for layer, features in found.items()}

    painted, target, painting = reference(image), reference(content), reference(style)
    lpips = 0.0
    for layer, head in zip(
        ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"), ruler().heads, strict=True
    ):
        p, c = (f / (np.sqrt((f**2).sum(axis=0)) + 1e-10) for f in (painted[layer], target[layer]))
        lpips += (head.double().numpy()[:, None] * (p - c) ** 2).sum(axis=0).mean()
    style_distances = []
    for layer in ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"):
        g, a = (
            np.einsum("cp,dp->cd", f, f) / f.shape[1] for f in (painted[layer], painting[layer])
        )
        style_distances.append(((g - a) ** 2).sum() / (a**2).sum())
    found = score.score(image, content, style, ruler())
    assert found.lpips == pytest.approx(lpips, rel=1e-4)
    assert found.style == pytest.approx(np.mean(style_distances), rel=1e-4)


def test_content_and_style_score_0_as_themselves() -> None:
    content, style = picture_tensor(48, 64)[None], picture_tensor(48, 64, seed=1)[None]
    assert score.score(content, content, style, ruler()).lpips == pytest.approx(0, abs=1e-8)
    assert score.score(style, content, style, ruler()).style == pytest.approx(0, abs=1e-8)


def test_large_pictures_are_as_far_apart_as_in_small() -> None:
    """LPIPS alone: the style is to be met at the size that was painted."""
    small, content, style = (picture_tensor(32, 256, seed=seed)[None] for seed in range(3))
    large, large_content = (
        x.repeat_interleave(2, 2).repeat_interleave(2, 3) for x in (small, content)
    )
    found = score.score(large, large_content, style, ruler())
    expected = score.score(small, content, style, ruler())
    assert found.lpips == pytest.approx(expected.lpips, rel=1e-4)
    assert found.style != pytest.approx(expected.style, rel=1e-2)


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
    apart = (Score(0.3, 0.1), Score(0.7, 0.3))
    same = (Score(0.5, 0.2), Score(0.5, 0.2))
    expected = sqrt(0.4**2 + log(3) ** 2) / 2
    assert score.distance([apart, same]) == pytest.approx(expected)


def test_the_pairs_use_every_sample() -> None:
    for side in ("content", "style"):
        there = {path.stem for path in (SAMPLES / side).glob("*.jpg")}
        assert {getattr(pair, side) for pair in PAIRS} == there
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
    weight = float(options["-style_weight"])
    share = weight / (1 + weight)
    Image.blend(content, style.resize(content.size), share).save(options["-output_image"])
    with open("runs.txt", "a") as file:
        print(weight, options["-num_iterations"], options["-image_size"], file=file)
"""


def test_the_peer_runs_with_the_weight_that_comes_closest_to_what_our_defaults_make(
    tmp_path: Path,
) -> None:
    package = tmp_path / "peer/neural_style"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "neural_style.py").write_text(FAKE_PEER)
    folder = tmp_path / "work"
    folder.mkdir()
    made = Bench(
        settings=Settings(size_px=64, evaluations=30, device="cpu"),
        style_weights=(0.001, 1.0, 1000.0),
        sweep_evaluations=10,
        folder=folder,
        peer_path=tmp_path / "peer",
        ruler=ruler(),
    ).report([PAIR])

    trials = {trial.style_weight: trial for trial in made.sweep.trials}
    (comparison,) = made.comparisons
    for trial in trials.values():
        pairs = [(trial.pictures[0].score, comparison.ours.score)]
        assert trial.distance == pytest.approx(score.distance(pairs))
    assert made.sweep.chosen == min(trials, key=lambda weight: trials[weight].distance)
    assert comparison.peer.score == trials[made.sweep.chosen].pictures[0].score
    assert trials[0.001].pictures[0].score.lpips < trials[1000].pictures[0].score.lpips
    runs = [line.split() for line in (folder / "runs.txt").read_text().splitlines()]
    sweep = [[str(weight), "10", "64"] for weight in (0.001, 1.0, 1000.0)]
    assert runs[1:] == [*sweep, [str(made.sweep.chosen), "30", "64"]]

    manifest = (folder / f"ours-{PAIR.id}.csv").read_text().split()
    assert manifest == ["content,style", f"{PAIR.content_file},{PAIR.style_file}"]
    metadata = folder / f"ours-{PAIR.id}/metadata.parquet"
    (record,) = metadata_from_parquet(metadata.read_bytes())
    assert record.params == PictureParams(size=64)
    assert (record.backbone, record.outcome.weights_origin) == ("vgg19", "embedded")
    assert made.precision == record.outcome.precision
    assert comparison.ours.evaluations == PictureParams().steps
    assert comparison.ours.loop_s == record.outcome.seconds
    # The picture is no larger than LPIPS takes it, so that the run's own figure is the same.
    assert comparison.ours.score.lpips == pytest.approx(record.outcome.lpips, rel=0.02)
    assert comparison.loop_ratio < 1
    assert [one.pair for one in made.batch.pictures] == [PAIR]
    assert made.batch_deviation() < 0.05
    assert "was given as" not in to_markdown(made)


def test_a_process_is_measured_without_the_memory_of_this_one(tmp_path: Path) -> None:
    _held = bytearray(b"x" * 300_000_000)
    usage = measured([sys.executable, "-c", "print('one'); print('two')"], cwd=tmp_path)
    assert [line.text for line in usage.lines] == ["one", "two"]
    assert 0 < usage.peak_mb < 100
    larger = "held = b'x' * 200_000_000"
    assert measured([sys.executable, "-c", larger], cwd=tmp_path).peak_mb > 200
    waits = "import time; a = bytearray(b'x') * 200_000_000; time.sleep(1)"
    both = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {waits!r}]); {waits}; p.wait()"
    assert measured([sys.executable, "-c", both], cwd=tmp_path).peak_mb > 390


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        measured([sys.executable, "-c", "raise SystemExit('no such thing')"], cwd=tmp_path)


def test_pictures_are_prepared_at_the_size(tmp_path: Path) -> None:
    prepare([PAIR], tmp_path, size_px=64)
    for file in (PAIR.content_file, PAIR.style_file):
        with Image.open(tmp_path / file) as image:
            assert max(image.size) == 64
            assert image.mode == "RGB"


def report(*runs: Run) -> Report:
    """A report of one pair for each run of ours."""
    machine = Machine(
        processor="A processor",
        num_cores=2,
        num_threads=2,
        device="cpu",
        torch_version="2.10",
        commit="abc",
        date="2026-01-01",
        float32_gflops=200,
        bfloat16_gflops=400,
    )
    comparisons = tuple(Comparison(pair=PAIR, peer=PEER, ours=ours_run) for ours_run in runs)
    trials = tuple(
        Trial(
            style_weight=weight,
            pictures=(Scored(PAIR, Score(0.2, 0.1)), Scored(PAIR, Score(0.4, 0.4))),
            distance=distance,
        )
        for weight, distance in ((10, 0.7), (100, 0.5), (1000, 0.6))
    )
    goals = (Scored(PAIR, Score(0.3, 0.1)), Scored(PAIR, Score(0.4, 0.1)))
    batch = Batch(process_s=36, peak_mb=900, pictures=tuple(Scored(PAIR, r.score) for r in runs))
    return Report(
        machine=machine,
        settings=Settings(size_px=256, evaluations=300, device="cpu"),
        precision="bfloat16",
        sweep=Sweep(evaluations=100, chosen=100, goals=goals, trials=trials),
        comparisons=comparisons,
        batch=batch,
    )


def cells(text: str) -> list[list[str]]:
    """The rows of all tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_report_says_what_was_measured() -> None:
    made = report(OURS, replace(OURS, loop_s=1, process_s=4.5))
    text = to_markdown(made)
    assert "A processor, 2 cores, 2 threads, on cpu; torch 2.10; 2026-01-01, commit abc." in text
    assert "nst computed in bfloat16, the peer in float32." in text
    assert [
        *("chelsea, the-scream", "90.00", "80.00", "1300", "9.00", "4.00", "700", "10.0", "20.0"),
    ] in cells(text)
    assert "takes 14.1 times as long as nst by whole processes, and 40.0 times as long in" in text
    assert ["pictures an hour", "40", "200"] in cells(text)
    assert ["seconds for all", "180.0", "36.0"] in cells(text)
    assert ["memory for one picture, MB", "1300", "700"] in cells(text)
    assert ["evaluations of a picture", "300", "50"] in cells(text)
    assert ["evaluations a second in the loop", "3.75", "25.00"] in cells(text)
    assert ["100", "0.300", "0.2000", "0.500"] in cells(text)
    assert ["nst", "0.350", "0.1000", ""] in cells(text)


def test_a_picture_that_is_worse_by_one_ruler_is_not_reported_as_good() -> None:
    as_good = replace(OURS, score=Score(0.41, 0.2))
    worse = replace(OURS, score=Score(0.3, 0.22))
    text = to_markdown(report(OURS, as_good, worse))
    rows = [row for row in cells(text) if row[0] == "chelsea, the-scream" and len(row) == 7]
    assert [row[-2:] for row in rows] == [["yes", "no"], ["yes", "yes"], ["no", "no"]]
    assert (
        "is as good as the peer's for 2 of 3 pairs, and the peer's as good as nst's for 1" in text
    )
    assert "not to equal quality" in text
    assert ["LPIPS, to the content", "1", "2"] in cells(text)
    # Equal is neither's.
    assert ["style distance", "1", "1"] in cells(text)
    assert "not to equal quality" not in to_markdown(report(OURS, as_good))


def test_a_batch_that_paints_other_pictures_is_told_of() -> None:
    made = report(OURS)
    other = replace(made.batch, pictures=(Scored(PAIR, Score(0.3, 0.12)),))
    assert made.batch_deviation() == 0
    assert replace(made, batch=other).batch_deviation() == pytest.approx(0.2)
    assert "in both rulers as by itself, within 20.0%" in to_markdown(replace(made, batch=other))


@pytest.mark.parametrize(("chosen", "is_told"), [(10, True), (100, False), (1000, True)])
def test_a_weight_at_an_end_of_the_list_is_told_of(chosen: float, is_told: bool) -> None:
    made = report(OURS)
    text = to_markdown(replace(made, sweep=replace(made.sweep, chosen=chosen)))
    assert ("one beyond may be closer" in text) == is_told
    assert f"style weight {chosen} for all pairs" in text


def test_a_weight_that_was_given_is_not_told_as_chosen() -> None:
    given = Sweep(evaluations=0, chosen=70, goals=(), trials=())
    text = to_markdown(replace(report(OURS), sweep=given))
    assert "given as 70, and no other was tried" in text


def test_the_json_has_every_number() -> None:
    values = json.loads(to_json(report(OURS)))
    assert (values["process_ratio"], values["loop_ratio"]) == pytest.approx((10, 20))
    assert (values["num_as_good"], values["peer_num_as_good"]) == (1, 0)
    assert values["comparisons"][0]["ours"]["score"] == {"lpips": 0.3, "style": 0.1}
    assert values["sweep"]["trials"][1]["style_weight"] == 100
    assert values["batch"]["pictures"][0]["pair"] == {"content": PAIR.content, "style": PAIR.style}
    assert values["our_pictures_per_hour"] == 100


def test_a_cost_is_fitted_so_that_estimates_are_off_by_the_same_factor_both_ways() -> None:
    points = [Point(side_px=64, measured_s=s, vgg16_s=1.0) for s in (1.0, 4.0)]
    assert fitted_cost(points) == pytest.approx(2)
    assert mean_error(points, 2.0) == pytest.approx(1)
    assert mean_error([Point(side_px=64, measured_s=3.0, vgg16_s=2.0)], 1.5) == pytest.approx(0)


def test_a_section_takes_the_place_of_the_one_before_and_leaves_the_others() -> None:
    text = "# Benchmark\n\nIt.\n\n## Planning\n\nold\n\n### More\n\nold\n\n## The batch\n\nrows\n"
    changed = in_place(text, "Planning", "new\n")
    assert changed == "# Benchmark\n\nIt.\n\n## Planning\n\nnew\n\n## The batch\n\nrows\n"
    assert in_place(changed, "Planning", "new\n") == changed
    assert in_place(changed, "The batch", "others\n") == changed.replace("rows", "others")
    assert in_place(changed, "Another", "it\n") == changed + "\n## Another\n\nit\n"


def test_planning_is_measured_on_an_output_in_which_every_other_row_is_done(tmp_path: Path) -> None:
    folder = plan.make(tmp_path / "40", 40)
    for suffix in plan.FORMATS:
        one = plan.measure(folder, suffix)
        assert (one.num_rows, one.num_done, one.num_to_make) == (40, 20, 20)
        assert [step.name for step in one.steps] == ["read", "plan"]
        is_ended = suffix == "parquet"
        assert [step.name for step in one.ending] == ["finish", "compact"] * is_ended
        assert one.cpu_seconds > 0
        assert one.peak_mb > 10
        text = plan.to_markdown([one])
        assert "not met with 40 rows" in text
        assert f"| 40   | {suffix} " in text
        assert ("CPU us a record" in text) == is_ended
    assert (folder / "out/index.html").exists()
    assert [each.name for each in (folder / "compacted/records").iterdir()] == [
        "part-000002.parquet"
    ]
    assert [each.name for each in (folder / "out/records").iterdir()] == ["part-000001.parquet"]


def test_planning_in_a_bucket_is_measured_where_all_is_done() -> None:
    found = plan.measure_in_bucket(3, servers.moto_url())
    assert (found.planned.num_rows, found.planned.num_done) == (3, 3)
    assert [step.name for step in found.planned.steps] == ["read", "plan"]
    assert found.num_of_inputs == 0
    assert 3 <= found.num_requests <= 9
    text = plan.to_markdown([found.planned], [found])
    assert "no request for an input by itself; not met with 3 rows" in text
    assert "| 3                |" in text


def test_an_instant_is_work_if_any_thread_works_and_else_of_the_part_that_keeps_it_from_it() -> (
    None
):
    beside = (Beside(1.0, 0.5), Beside(1.5, 0.75))
    driver = Trace(
        segments=(
            Segment("start", 101, 103, 0),
            Segment("planning", 103, 104, 0),
            Segment("telling", 104, 116, 0),
            Segment("gallery", 116, 118, 0),
        ),
        beside=beside,
    )
    painter = Trace(
        segments=(
            Segment("weights", 105, 107, 1),
            Segment("paint", 107, 112, 5),
            Segment("write", 111, 114, 1),
            Segment("records", 110, 115, 0.25),
        ),
        beside=(),
    )
    run = overhead.attributed(
        driver, painter, started_s=100, wall_s=19, mode="nst run", num_rows=2, steps=1
    )
    assert run.work_s == 7
    assert run.overhead == {
        "start": 3,
        "planning": 1,
        "telling": 2,
        "weights": 2,
        "records": 1,
        "gallery": 2,
        "end": 1,
    }
    assert run.overhead_s + run.work_s == run.wall_s
    assert run.spent == {"paint": 5, "write": 3}
    assert run.aside_cpu == {"driver": 0.5, "server": 0.25, "records": 0.25}


def test_overhead_is_told_apart_by_run_group_and_row() -> None:
    runs = [
        overhead.Run(
            mode="nst run --prefect",
            num_rows=rows,
            num_groups=groups,
            steps=2,
            wall_s=100,
            work_s=50,
            overhead={"start": 2.0, "prefect": 3 + 0.5 * groups, "records": 1 + 0.001 * rows},
            spent={},
            aside_cpu={"driver": 0.4, "telling": 0.1, "records": 0.2},
            num_messages=1000,
        )
        for rows, groups in ((100, 1), (100, 11), (200, 1))
    ]
    found = overhead.costs(runs)
    assert found["start"].run == pytest.approx(2)
    assert (found["prefect"].run, found["prefect"].group) == pytest.approx((3, 0.5))
    assert (found["records"].run, found["records"].row) == pytest.approx((1, 0.001))
    assert sum(found.values(), overhead.Cost()).of(rows=1000, groups=10) == pytest.approx(12)
    assert overhead.cpu_of_a_row(runs[-1]) == pytest.approx(0.0035)
    by_clock = overhead.cpu_by_the_clock(runs[-1])
    assert by_clock == pytest.approx(0.0005 / worker.ADVANCED_EVERY_S)
    # An overhead of 1.2 s is 2 % of a minute.
    assert overhead.minutes_needed(1.2, 0) == pytest.approx(0.98)
    minutes = overhead.minutes_needed(12, by_clock)
    assert overhead.share(12, by_clock, 60 * minutes) == pytest.approx(0.02)
    assert overhead.minutes_needed(12, 0.03) == float("inf")


def test_what_a_run_costs_beside_its_pictures_is_measured_and_told() -> None:
    runs = overhead.measure("nst run", overhead.Sizes(few=2, many=4, groups=2, steps=1))
    assert [(run.num_rows, run.num_groups) for run in runs] == [(2, 1), (2, 2), (4, 1)]
    for run in runs:
        assert run.overhead_s + run.work_s == pytest.approx(run.wall_s)
        assert {"start", "planning", "painter", "weights", "gallery"} <= run.overhead.keys()
        assert set(run.spent) == {"decode", "paint", "measure", "write", "small pictures"}
    text = overhead.to_markdown(runs)
    assert "| `nst run` | 4    | 1      |" in text
    assert "Not measured, but arithmetic" in text


def test_what_prefect_costs_is_told_apart_from_a_server_of_its_own() -> None:
    run = overhead.measure_run("nst run --prefect", 2, 1, 1)
    assert run.overhead_s + run.work_s == pytest.approx(run.wall_s)
    assert {"prefect imports", "prefect", "server", "painter", "gallery"} <= run.overhead.keys()
