"""The benchmark's parts, without the peer and without a clock."""

import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import models

from bench import ours, overhead, plan, score
from bench.compare import to_json
from bench.estimate import Point, fitted_cost, mean_error
from bench.machine import Machine, evaluation_gflop
from bench.pairs import Pair, Settings, prepare
from bench.peer import peer_weights
from bench.process import measured
from bench.report import Batch, Comparison, Report, Run, Scored, to_markdown
from bench.score import Score, load_picture, targets
from bench.sections import in_place, section_of
from bench.traced import Beside, Segment, Trace
from nst import worker
from tests.helpers import picture, picture_bytes, picture_tensor

PAIR = Pair("chelsea", "the-scream")
PEER = Run(
    evaluations=300, weight=1e6, loop_s=80, process_s=90, peak_mb=1300, score=Score(0.4, 0.2)
)
OURS = Run(evaluations=40, weight=0.2, loop_s=4, process_s=9, peak_mb=700, score=Score(0.3, 0.1))


@cache
def weights() -> dict[str, Tensor]:
    return score.load_weights()


def as_the_peer_prepares(image: Tensor) -> Tensor:
    """[1,3,H,W] in [0, 1] -> BGR, times 256, less the mean of each channel."""
    return image.flip(1) * 256 - torch.tensor([103.939, 116.779, 123.68])[:, None, None]


def plain_features(images: Tensor, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's own VGG-16 on what its first convolution takes, in the precision of `images`."""
    network = models.vgg.make_layers(models.vgg.cfgs["D"]).to(images.dtype)
    network.load_state_dict({key.removeprefix("features."): value for key, value in state.items()})
    names = {1: "relu1_1", 6: "relu2_1", 11: "relu3_1", 18: "relu4_1", 20: "relu4_2", 25: "relu5_1"}
    found = {}
    with torch.no_grad():
        for index, module in enumerate(network):
            images = module(images)
            if index in names:
                found[names[index]] = images.clone()
    return found


def test_the_peers_weights_see_its_pictures_as_ours_see_ours() -> None:
    image = picture_tensor(48, 64)[None]
    theirs = plain_features(as_the_peer_prepares(image), peer_weights(weights()))
    expected = score.features(image, weights())
    inside = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(
        theirs["relu1_1"][inside], expected["relu1_1"][inside], rtol=1e-4, atol=1e-4
    )
    for layer in (score.CONTENT_LAYER, *score.STYLE_LAYERS):
        # The border's padding differs by 0.002 of white.
        error = (theirs[layer] - expected[layer]).norm() / expected[layer].norm()
        assert error < 2e-3, layer


def test_the_score_agrees_with_double_precision() -> None:
    content, style = picture_tensor(48, 64)[None], picture_tensor(56, 40, seed=1)[None]
    image = 0.5 * content + 0.5 * picture_tensor(48, 64, seed=2)[None]

    def reference(pixels: Tensor) -> dict[str, np.ndarray]:
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        found = plain_features(((pixels - mean) / std).double(), weights())
        return {layer: features[0].flatten(1).numpy() for layer, features in found.items()}

    painted, target, painting = reference(image), reference(content), reference(style)
    p = target["relu4_2"]
    spread = p - p.mean(axis=1, keepdims=True)
    content_loss = ((painted["relu4_2"] - p) ** 2).sum() / (spread**2).sum()
    style_losses = []
    for layer in ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"):
        g, a = (
            np.einsum("cp,dp->cd", f, f) / f.shape[1] for f in (painted[layer], painting[layer])
        )
        style_losses.append(((g - a) ** 2).sum() / (a**2).sum())
    found = score.score(image, score.targets(content, style, weights()), weights())
    assert found.content == pytest.approx(content_loss, rel=1e-4)
    assert found.style == pytest.approx(np.mean(style_losses), rel=1e-4)


def test_content_and_style_score_0_as_themselves() -> None:
    content, style = picture_tensor(48, 64)[None], picture_tensor(48, 64, seed=1)[None]
    target = score.targets(content, style, weights())
    assert score.score(content, target, weights()).content == pytest.approx(0, abs=1e-8)
    assert score.score(style, target, weights()).style == pytest.approx(0, abs=1e-8)


def test_as_good_means_in_both() -> None:
    assert Score(0.1, 0.2).is_as_good_as(Score(0.1, 0.2))
    assert not Score(0.1, 0.3).is_as_good_as(Score(0.2, 0.2))
    assert not Score(0.3, 0.1).is_as_good_as(Score(0.2, 0.2))


def test_the_first_step_that_is_as_good_makes_a_picture_that_is(tmp_path: Path) -> None:
    content, style, output = (tmp_path / f"{name}.png" for name in ("content", "style", "output"))
    content.write_bytes(picture_bytes(48, 64))
    style.write_bytes(picture_bytes(64, 64, seed=1))
    target = targets(load_picture(content), load_picture(style), weights())
    goal = Score(2.0, 0.5 * score.score(load_picture(content), target, weights()).style)
    settings = {"content_weight": 0.1, "device": "cpu"}
    steps = ours.first_as_good(content, style, goal, limit=20, **settings)  # type: ignore[arg-type]
    assert steps is not None
    losses = {}
    for number in (steps - 1, steps):
        ours.paint(content, style, output, steps=number, **settings)  # type: ignore[arg-type]
        losses[number] = score.score(load_picture(output), target, weights()).style
    assert losses[steps] <= goal.style * 1.01
    assert losses[steps - 1] > goal.style * 0.99


def test_no_step_is_as_good_as_what_cannot_be(tmp_path: Path) -> None:
    content, style = tmp_path / "content.png", tmp_path / "style.png"
    content.write_bytes(picture_bytes(48, 64))
    style.write_bytes(picture_bytes(64, 64, seed=1))
    found = ours.first_as_good(
        content, style, Score(0, 0), limit=3, content_weight=0.1, device="cpu"
    )
    assert found is None


def test_an_evaluation_goes_through_the_network_forward_and_back() -> None:
    image = picture_tensor(32, 32)[None]
    sizes = [(3, 64, 32), (64, 64, 32), (64, 128, 16), (128, 128, 16), (128, 256, 8)]
    sizes += [(256, 256, 8)] * 2 + [(256, 512, 4)] + [(512, 512, 4)] * 2 + [(512, 512, 2)]
    convolutions = sum(2 * 2 * 9 * before * after * side**2 for before, after, side in sizes) / 1e9
    # The rest are the Gram matrices.
    assert convolutions < evaluation_gflop(image, image, weights()) < 1.15 * convolutions


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


def test_ours_paints_a_file_of_the_contents_size(tmp_path: Path) -> None:
    content, style, output = (tmp_path / name for name in ("c.png", "s.png", "o.png"))
    Image.fromarray(picture(40, 48)).save(content)
    Image.fromarray(picture(48, 36, seed=1)).save(style)
    ours.paint(content, style, output, steps=2, content_weight=0.1, device="cpu")
    assert score.load_picture(output).shape == (1, 3, 40, 48)
    target = score.targets(score.load_picture(content), score.load_picture(style), weights())
    before, after = (
        score.score(score.load_picture(path), target, weights()) for path in (content, output)
    )
    assert after.style < before.style


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
    settings = Settings(size_px=256, evaluations=300, peer_style_weight=1e6, device="cpu")
    comparisons = tuple(
        Comparison(pair=PAIR, evaluation_gflop=16, peer=PEER, ours=ours_run) for ours_run in runs
    )
    batch = Batch(
        mean_steps=40,
        process_s=36,
        pictures=(Scored(PAIR, Score(0.3, 0.1)), Scored(Pair("a", "b"), Score(0.5, 0.6))),
        single_process_s=8,
        single_peak_mb=650,
    )
    return Report(machine=machine, settings=settings, comparisons=comparisons, batch=batch)


def cells(text: str) -> list[list[str]]:
    """The rows of all tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_report_says_what_was_measured() -> None:
    made = report(OURS, replace(OURS, loop_s=1, process_s=4.5))
    text = to_markdown(made)
    assert [
        *("chelsea, the-scream", "80.00", "90.00", "0.4000", "0.2000"),
        *("0.2", "40", "4.00", "9.00", "0.3000", "0.1000", "20.0"),
    ] in cells(text)
    assert "2 of 2 pairs reached: 40.0 times as fast in the loop, 14.1 times as fast as" in text
    assert ["pictures an hour", "40", "200"] in cells(text)
    assert ["peak memory of one picture, MB", "1300", "650"] in cells(text)
    assert ["share of the float32 peak", "30%", "200%"] in cells(text)
    assert ["chelsea, the-scream", "0.3000", "0.1000", "yes"] in cells(text)
    assert ["a, b", "0.5000", "0.6000", "not measured"] in cells(text)


@pytest.mark.parametrize(("bfloat16_gflops", "is_told"), [(400, False), (100, True)])
def test_a_machine_whose_half_precision_gains_nothing_is_told_of(
    bfloat16_gflops: float, is_told: bool
) -> None:
    made = report(OURS)
    machine = replace(made.machine, bfloat16_gflops=bfloat16_gflops)
    text = to_markdown(replace(made, machine=machine))
    assert ("multiplies bfloat16 slower than float32" in text) == is_told


def test_a_picture_that_is_not_as_good_is_reported_as_failed() -> None:
    worse = replace(OURS, score=Score(0.3, 0.21))
    text = to_markdown(report(OURS, worse))
    assert [row[-1] for row in cells(text)[2:4]] == ["20.0", "FAILED"]
    assert "1 of 2 pairs reached: 20.0 times as fast in the loop" in text
    assert "0 of 1 pairs reached: not reached in the loop" in to_markdown(report(worse))


def test_the_json_has_every_number() -> None:
    values = json.loads(to_json(report(OURS)))
    assert values["loop_ratio"] == pytest.approx(20)
    assert values["comparisons"][0]["ours"]["score"] == {"content": 0.3, "style": 0.1}
    assert values["batch"]["pictures"][1]["pair"] == {"content": "a", "style": "b"}
    assert values["our_pictures_per_hour"] == 200


def test_a_cost_is_fitted_so_that_estimates_are_off_by_the_same_factor_both_ways() -> None:
    points = [Point(side_px=64, measured_s=s, vgg16_s=1.0) for s in (1.0, 4.0)]
    assert fitted_cost(points) == pytest.approx(2)
    assert mean_error(points, 2.0) == pytest.approx(1)
    assert mean_error([Point(side_px=64, measured_s=3.0, vgg16_s=2.0)], 1.5) == pytest.approx(0)


def test_a_section_takes_the_place_of_the_one_before_and_leaves_the_others() -> None:
    text = "# Benchmark\n\nIt.\n\n## Planning\n\nold\n\n## The batch\n\nrows\n"
    assert section_of(text, "Planning") == "old\n"
    assert section_of(text, "None") is None
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
