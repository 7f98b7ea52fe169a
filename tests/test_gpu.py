"""The measurement on a GPU: what it counts, what it makes of failures, and what it can do without."""

import importlib
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._utils import _get_device_index

from bench import encoding
from bench.gpu import command, out_of_memory, run, speed
from bench.gpu.budget import Rates, budget
from bench.gpu.command import Part, Report
from bench.gpu.given import Found, Given, MissingError, Target, grey_levels_apart, item
from bench.gpu.missing import lacking, make_importable
from bench.gpu.operations import Moved, Work
from nst.painting.memory import Memory
from nst.pictures import images
from tests.helpers import ROOT

STAND_INS = ROOT / "bench/stand_ins"


def given(folder: Path, **changes: object) -> Given:
    toy = Given(
        device="cpu",
        is_toy=True,
        folder=folder,
        ends_s=time.monotonic() + 1000,
        resnet50=None,
        peer_path=None,
        say=lambda _: None,
    )
    return replace(toy, **changes)  # type: ignore[arg-type]


def test_bytes_are_those_that_an_operation_reads_and_writes() -> None:
    one, row = torch.zeros(10, 100), torch.zeros(1, 100)
    with Moved() as moved:
        one.view(100, 10).t()
    assert moved.bytes_by_kind == {"product": 0, "fft": 0, "other": 0}
    with moved:
        # Repeated ten times, and in memory once.
        one + row.expand(10, 100)
    assert moved.bytes_by_kind["other"] == 4 * (1000 + 100 + 1000)
    with moved:
        one @ torch.empty(100, 5)
    assert moved.bytes_by_kind["product"] == 4 * (1000 + 500 + 50)
    with moved:
        torch.fft.rfft(row)
    assert moved.bytes_by_kind["fft"] == 4 * 100 + 8 * 51


def test_a_budget_is_the_work_divided_by_the_rates() -> None:
    work = Work(flops=300.0, product_bytes=1.0, fft_bytes=2.0, other_bytes=4.0, once_bytes=5000.0)
    rates = Rates(name="a device", product_flops=1e6, float32_flops=1e6, bytes_moved=1e5)
    found = budget("vgg19", 100, work, rates)
    assert (found.flops, found.product_s, found.moving_s) == pytest.approx((3e6, 3.0, 0.65))
    assert found.gatys == pytest.approx(1 / (50 * 3.65))
    # Where it moves more than it computes, that is what counts.
    slow = replace(work, product_bytes=100.0)
    assert budget("vgg19", 100, slow, rates).product_s == 10


def part(measure: Callable[[Given, Found], None], *, most_s: float = 1.0) -> Part:
    return Part(
        title="A part",
        most_s=most_s,
        measure=measure,
        to_markdown=lambda found: f"It found {found['number']}.",
    )


def test_a_part_that_fails_keeps_what_it_found_and_the_next_one_runs(tmp_path: Path) -> None:
    def fails(_: Given, found: Found) -> None:
        found["number"] = 7
        raise ValueError("no such kernel")

    def lacks(_: Given, found: Found) -> None:
        raise MissingError("no wheel; carry it")

    def works(_: Given, found: Found) -> None:
        found["number"] = 8

    report = Report(device="a device", head="A device.")
    parts = {"one": part(fails), "two": part(lacks), "three": part(works)}
    command.measure(parts, given(tmp_path), report)
    assert report.failed == ["one"]
    assert "ValueError: no such kernel" in report.ended["one"]
    assert report.ended["two"] == "not measured: no wheel; carry it"
    written = json.loads(command.to_json(report))["found"]
    assert (written["one"]["number"], written["three"]["number"]) == (7, 8)


def test_a_part_for_which_no_time_is_left_is_left_out_and_said_so(tmp_path: Path) -> None:
    said: list[str] = []
    late = given(tmp_path, ends_s=time.monotonic() + 1, say=said.append)
    report = Report(device="a device", head="A device.")
    command.measure({"one": part(lambda *_: None, most_s=60.0)}, late, report)
    assert report.ended["one"] == "left out: no time for it"
    assert not report.failed
    assert "A part: left out: no time for it" in said[0]


def test_the_command_writes_what_is_known_and_its_status_says_if_a_part_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(here: Given, found: Found) -> None:
        here.say("so far so good")
        logging.getLogger("nst.painting.graphs").warning("painting goes on without a CUDA graph")
        # Written by then, in case that this is the end.
        assert "kernels" in json.loads((tmp_path / "gpu.json").read_text())["found"]
        raise ValueError("out of luck")

    monkeypatch.setattr(command, "PARTS", {"kernels": part(fails)})
    results = tmp_path / "RESULTS.md"
    options = ["--toy", "--parts", "kernels", "--folder", tmp_path, "--markdown", results]
    assert command.main(list(map(str, options)), missing=("minify",)) == 1
    assert "so far so good" in capsys.readouterr().out
    assert "## On a GPU: cpu" in results.read_text()
    assert "ValueError: out of luck" in results.read_text()
    assert "- painting goes on without a CUDA graph" in results.read_text()
    assert "Without minify" in (tmp_path / "gpu.md").read_text()


def test_without_a_gpu_the_command_says_so_and_names_the_toy_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert command.main(["--folder", str(tmp_path / "out")]) == 2
    assert "found 0 CUDA devices" in (said := capsys.readouterr().out)
    assert "--toy" in said
    assert not (tmp_path / "out").exists()


def test_targets_say_what_was_measured_and_whether_it_is_enough() -> None:
    cell = speed.Cell(
        backbone="vgg19",
        size_px=512,
        batch=16,
        precision="bfloat16",
        evaluation_s=0.016,
        pictures_s=19.5,
        pyramid_s=30.0,
        share=0.51,
        peak_bytes=0,
        forecast_bytes=1,
    )
    share, pictures = speed.targets({"speed": {"cells": [cell]}})
    assert (share.measured, share.is_reached) == ("51.0%", True)
    assert (pictures.measured, pictures.is_reached) == ("19.5", False)
    report = Report(device="a device", head="A device.", found={"speed": {"cells": [cell]}})
    lines = command.to_markdown(report).splitlines()
    cells = [[each.strip() for each in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert ["50%", "51.0%", "yes"] in [row[1:] for row in cells]
    assert ["20", "19.5", "**no**"] in [row[1:] for row in cells]
    assert ["100 times", "not measured", ""] in [row[1:] for row in cells]


def test_a_target_of_which_nothing_is_known_is_neither_reached_nor_missed() -> None:
    found = [target for each in command.PARTS.values() for target in each.targets({})]
    assert len(found) == 8
    assert all(isinstance(target, Target) and target.is_reached is None for target in found)


def test_how_busy_a_gpu_is_comes_from_nvidia_smi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 90\necho '[N/A]'\necho 70\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    begun_s = time.monotonic()
    with run.sampled(torch.device("cpu")) as samples:
        while len(samples) < 2:
            time.sleep(0.01)
    assert [sample.busy for sample in samples] == [0.9, 0.7]
    assert run._busy(samples, begun_s, time.monotonic()) == pytest.approx(0.8)
    assert run._busy(samples, begun_s - 2, begun_s - 1) is None


def test_without_nvidia_smi_the_busy_share_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with run.sampled(torch.device("cpu")) as samples:
        pass
    assert not samples
    assert run._share(run._busy(samples, 0, 1)) == "unknown"


@pytest.mark.parametrize("name", ["nst", "nst.painting", "nst.planning", "nst.storage"])
def test_the_stand_in_of_lazy_loader_finds_what_the_real_one_finds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module("lazy_loader")
    package = importlib.import_module(name)
    monkeypatch.syspath_prepend(str(STAND_INS / "lazy_loader"))
    monkeypatch.delitem(sys.modules, "lazy_loader")
    stand_in = importlib.import_module("lazy_loader")
    monkeypatch.setitem(sys.modules, "lazy_loader", real)
    assert Path(str(stand_in.__file__)).is_relative_to(STAND_INS)
    load, listed, names = stand_in.attach_stub(name, package.__file__)
    _, _, expected = real.attach_stub(name, package.__file__)
    assert sorted(names) == sorted(expected) == listed()
    assert all(load(each) is getattr(package, each) for each in names)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        load("nothing")


def test_a_needed_package_that_is_not_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lacking() is None
    monkeypatch.setattr("bench.gpu.missing._NEEDED", ("json", "no_such_package"))
    assert "needs no_such_package, which" in str(lacking())


def test_what_is_here_has_no_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert make_importable() == ()
    assert not [each for each in sys.path if "stand_ins" in each]


def test_a_row_of_the_report_on_memory_says_no_where_a_picture_was_not_made() -> None:
    rows = [
        *({"id": f"many-{n}", "status": "ok"} for n in range(8)),
        {
            "id": "large",
            "status": "failed",
            "reason": "out_of_memory",
            "error": "need about 5 GB, 1 GB free",
        },
        *({"id": f"after-{n}", "status": "ok"} for n in range(4)),
    ]
    assert all(out_of_memory._checks(rows, ["out of memory with 8"]).values())
    assert list(out_of_memory._checks(rows, []).values()) == [False, True, True]
    rows[-1] = {"id": "after-3", "status": "failed"}
    assert list(out_of_memory._checks(rows, ["halved"]).values()) == [True, True, False]


def test_the_limit_of_memory_names_the_number_of_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch has it no other way, and what earlier parts recorded does not count."""
    limits: list[tuple[float, int]] = []
    forgotten: list[bool] = []

    def limit(fraction: float, device: int) -> None:
        # As PyTorch itself checks it.
        limits.append((fraction, _get_device_index(device)))

    for name, value in {
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "memory_reserved": lambda _: 100,
        "set_per_process_memory_fraction": limit,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(out_of_memory, "_needed", lambda *_: 800)
    monkeypatch.setattr(out_of_memory, "memory_of", lambda _: Memory(total=1000, free=1000))
    monkeypatch.setattr("nst.painting.graphs.forget", lambda: forgotten.append(True))
    monkeypatch.setattr("nst.painting.devices._keep_full_precision", lambda: None)
    with out_of_memory._limited(64, given(tmp_path, device="cuda")):
        assert forgotten
    assert limits == [(0.5, 0), (1.0, 0)]


def test_no_two_pictures_of_a_batch_are_alike() -> None:
    contents = [item(number, 64).content for number in range(16)]
    assert (
        min(
            grey_levels_apart(one, other)
            for number, one in enumerate(contents)
            for other in contents[:number]
        )
        > 1
    )


def test_encoding_tells_how_many_threads_keep_up() -> None:
    assert encoding.Cost(what="", picture_s=0.1, bytes_per_px=1).threads(30) == 3
    assert encoding.Cost(what="", picture_s=0.101, bytes_per_px=1).threads(30) == 4


def test_every_way_of_encoding_is_measured_on_the_pictures_that_are_given() -> None:
    pixels = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0)).numpy()
    file = images.encode(images.Picture(pixels, None), "png", {})
    found = {each.what: each for each in encoding.costs([file], 32, 1)}
    # Without compression there is a byte in front of each row, and with it the parameters are there.
    assert found["PNG, level 0"].bytes_per_px > 3
    assert found["PNG, as nst writes it"].bytes_per_px > found["PNG, level 6"].bytes_per_px
    assert found["decode, resize to this size"].bytes_per_px == 0
    text = encoding.to_markdown(list(found.values()), "1 picture", 32, 30)
    assert all(what in text for what in found)
