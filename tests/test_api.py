"""What Python code may call, as docs/API.md has it; and what it is told where it asks amiss."""

import doctest
import inspect
import json
import subprocess
import sys
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import nst
from nst import pipeline
from nst.api import _rows, _settings, _with_absolute_paths
from nst.errors import REASONS, error_of
from nst.pictures.exchange import png_of
from nst.pictures.images import decode
from nst.running import lease
from nst.settings import SETTING_FIELDS, RunSettings
from tests import forged
from tests.helpers import ROOT, picture, picture_bytes, write_project
from tests.helpers import row as row_of
from tests.test_images import linear_grey_profile

STEPS: dict[str, Any] = {"size": 48, "steps": 2}
# What a type checker would not let pass.
FIVE: Any = 5
NOTHING: Any = None
ONE_TEXT: Any = "in"
FLOATS: Any = np.zeros((4, 4, 3))


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with pictures in `in`."""
    write_project(tmp_path / "in", [])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_of_the_documentation_are_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(ROOT / "docs/API.md"), module_relative=False)
    assert tried > 15
    assert failed == 0


def test_rows_in_memory_are_planned_as_they_are_run(tmp_path: Path) -> None:
    """They replace those of the last run, whatever these were."""
    folder = write_project(tmp_path / "in", []).parent
    first = [row_of(str(folder / "a.png"), str(folder / "s.png"), id="one", size=48, steps=1)]
    nst.run(first, tmp_path / "out", isolate=False)
    second = [{**first[0], "steps": 2}]
    assert nst.plan(second, tmp_path / "out").num_pictures_to_make == 1
    assert nst.plan(first, tmp_path / "out").done == ("one",)


def test_importing_it_loads_no_library_and_knows_every_name() -> None:
    code = (
        "import sys, nst\n"
        "loaded = {'torch', 'pyarrow', 'pydantic', 'numpy', 'PIL', 'fsspec', 'typer'}\n"
        "print(sorted(loaded & set(sys.modules)))\n"
        "print(all(getattr(nst, name) for name in nst.__all__), nst.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "[]"
    assert done.stdout.splitlines()[1].startswith("True ")
    assert (ROOT / "nst/py.typed").exists()


def test_a_picture_is_the_one_that_a_run_makes_of_such_a_row(inputs: Path) -> None:
    data = picture_bytes(48, 64, seed=3)
    (inputs / "mine.png").write_bytes(data)
    rows = [{"id": "one", "content": "mine.png", "style": "in/s.png", "init": "in/a.png"}]
    nst.run(rows, "out", overrides=STEPS, isolate=False, device="cpu")
    expected = np.asarray(nst.open("out").picture("one"))
    for content in ("mine.png", inputs / "mine.png", picture(48, 64, seed=3)):
        made = nst.stylize(content, "in/s.png", init="in/a.png", device="cpu", **STEPS)
        assert (np.asarray(made.image) == expected).all()
    (record,) = nst.open("out").records
    assert made.losses["total"] == record.outcome.total_loss
    assert made.measures["ssim"] == record.outcome.ssim


def test_a_picture_in_memory_lies_as_its_file_would(inputs: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(48, 64)).save("turned.jpg", exif=exif, quality=95)
    with Image.open("turned.jpg") as image:
        made = nst.stylize(image, "in/s.png", init=picture(64, 48), device="cpu", **STEPS)
    assert (
        made.image.size == nst.stylize("turned.jpg", "in/s.png", device="cpu", **STEPS).image.size
    )
    assert made.image.height > made.image.width
    assert made.outcome.evaluations == 2


@pytest.mark.usefixtures("inputs")
@pytest.mark.parametrize(
    ("mode", "white"), [("F", 1), ("F", 255), ("I", 65535), ("I;16", 65535), ("I", 255)]
)
def test_a_picture_in_memory_of_more_than_8_bits_lies_as_its_tiff_would(
    mode: str, white: int
) -> None:
    grey = picture(48, 64)[..., 0] / 255 * white
    dtype = {"F": np.float32, "I": np.int32, "I;16": np.uint16}[mode]
    image = Image.fromarray(grey.astype(dtype))
    assert image.mode == mode
    image.save("deep.tiff")
    data = png_of(image, name="a")
    assert data is not None
    found = decode(data, long_edge_px=64, name="a").pixels
    tiff = Path("deep.tiff").read_bytes()
    assert np.array_equal(found, decode(tiff, long_edge_px=64, name="a").pixels)
    assert np.ptp(found) > 0.5


@pytest.mark.parametrize(("bits", "counts_from_black"), [(12, 1), (16, 0)])
def test_a_tiff_in_memory_is_as_light_as_its_file(bits: int, counts_from_black: int) -> None:
    tags = {256: 8, 257: 8, 258: bits, 259: 1, 262: counts_from_black, 277: 1}
    white = b"\xff" if counts_from_black else b"\0"
    tiff = forged.tiff(tags, white * (8 * 8 * bits // 8))
    with Image.open(BytesIO(tiff)) as image:
        data = png_of(image, name="a")
    assert data is not None
    assert decode(data, long_edge_px=8, name="a").pixels.min() == 1


@pytest.mark.parametrize(("mode", "of"), [("La", "LA"), ("PA", "RGBA"), ("RGBa", "RGBA")])
def test_a_picture_in_memory_keeps_what_is_transparent(mode: str, of: str) -> None:
    clear = Image.fromarray(np.zeros((4, 4, 4), np.uint8)).convert(of)
    data = png_of(
        clear.convert("P").convert("PA") if mode == "PA" else clear.convert(mode), name="a"
    )
    assert data is not None
    assert Image.open(BytesIO(data)).convert("RGBA").getchannel("A").getextrema() == (0, 0)


@pytest.mark.parametrize("mode", ["L", "LA", "La", "F", "I", "I;16"])
def test_a_picture_in_memory_keeps_its_grey_profile(mode: str) -> None:
    """Half the light is 188 of 255 in sRGB."""
    deep = {"F": 0.5, "I": 128 * 257, "I;16": 128 * 257}
    if mode in deep:
        image = Image.new(mode, (8, 8), deep[mode])
    else:
        image = Image.new("L", (8, 8), 128).convert("L" if mode == "L" else "LA").convert(mode)
    image.info["icc_profile"] = linear_grey_profile()
    data = png_of(image, name="a")
    assert data is not None
    found = decode(data, long_edge_px=8, name="a").pixels
    assert 255 * found[:, 4, 4] == pytest.approx([188] * 3, abs=1)


def test_a_picture_in_memory_in_ink_has_no_profile_of_ink() -> None:
    image = Image.new("CMYK", (8, 8))
    image.info["icc_profile"] = b"a profile of four inks"
    data = png_of(image, name="a")
    assert data is not None
    assert "icc_profile" not in Image.open(BytesIO(data)).info


def test_a_bitmap_in_memory_whose_alpha_is_0_everywhere_is_opaque() -> None:
    with Image.open(BytesIO(forged.bitmap(bytes([30, 20, 10, 0]) * 64, 8))) as image:
        data = png_of(image, name="a")
    assert data is not None
    with Image.open(BytesIO(data)) as found:
        assert (found.mode, found.getpixel((3, 3))) == ("RGB", (10, 20, 30))


def test_a_damaged_picture_in_memory_is_an_image_error() -> None:
    """Its pixels are only now read of its file."""
    with (
        Image.open(BytesIO(picture_bytes(48, 64)[:2000])) as image,
        pytest.raises(nst.ImageError, match="a: expected a sound picture, found one that cannot"),
    ):
        png_of(image, name="a")


class Polars:
    """As much of one as is asked for."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def to_arrow(self) -> pa.Table:
        return pa.Table.from_pylist(self.rows)

    def to_dict(self) -> dict[str, list[Any]]:
        return {name: [row[name] for row in self.rows] for name in self.rows[0]}


class Pandas:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def to_dict(self, orient: str = "dict") -> list[dict[str, Any]]:
        assert orient == "records"
        return [row | {"steps": np.float64("nan"), "seed": np.int64(3)} for row in self.rows]


class Interchange:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.table = pa.Table.from_pylist(rows)

    def __dataframe__(self, **options: Any) -> Any:
        return self.table.__dataframe__(**options)


@pytest.mark.parametrize("kind", [iter, pa.Table.from_pylist, Polars, Pandas, Interchange])
def test_rows_are_taken_from_whatever_table_they_are_in(inputs: Path, kind: Any) -> None:
    rows = [{"content": "in/a.png", "style": "in/s.png|s3://b/t.png", "size": 64}]
    (found,) = _rows(kind(rows))
    more = {"seed": 3} if kind is Pandas else {}
    assert found == {
        "content": f"{inputs}/in/a.png",
        "style": [f"{inputs}/in/s.png", "s3://b/t.png"],
        "size": 64,
        **more,
    }
    assert json.loads(json.dumps(found)) == found


def test_a_table_that_is_too_large_once_unpacked_is_refused(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst.storage.tables._MAX_BYTES", 100)
    rows = [{"content": "c" * 60, "style": "s" * 60}]
    for kind in (pa.Table.from_pylist, Polars, Interchange):
        with pytest.raises(nst.ManifestError, match="manifest: expected a table of at most 100 by"):
            _rows(kind(rows))


def test_several_styles_in_a_text_of_a_list_are_in_the_working_folder_too(inputs: Path) -> None:
    (found,) = _rows([{"content": "a.png", "style": ["s.png|t.png", "u.png"]}])
    assert found["style"] == [f"{inputs}/{name}.png" for name in "stu"]


def test_a_run_of_rows_can_be_repeated_from_its_output_anywhere(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": "one", "content": "in/a.png", "style": "in/s.png", "label_of": "me"}]
    report = nst.run(rows, "out", overrides=STEPS, isolate=False)
    assert (report.num_ok, report.num_done_before) == (1, 0)
    monkeypatch.chdir("/")
    again = nst.run(inputs / "out/manifest.jsonl", inputs / "out", overrides=STEPS, isolate=False)
    assert again.num_done_before == 1
    assert pipeline.verify(str(inputs / "out")).findings == ()
    assert pipeline.clean(str(inputs / "out")) == ()
    output = nst.open(inputs / "out")
    assert output.metadata.equals(pq.read_table(inputs / "out/metadata.parquet"))
    assert output.report["manifest"] == f"{inputs}/out/manifest.jsonl"
    with pytest.raises(nst.ConfigError, match="expected the id of a row of its run; found 'two'"):
        output.picture("two")


def test_rows_that_are_refused_leave_those_of_the_last_run(inputs: Path) -> None:
    rows = [row_of("in/a.png", "in/s.png", id="one")]
    nst.run(rows, "out", overrides=STEPS, isolate=False)
    kept = inputs / "out/manifest.jsonl"
    before = kept.read_bytes()
    others = [row_of("in/a.png", "in/s.png", id="two")]
    with pytest.raises(nst.ManifestError, match="column 'size': expected a whole number from 32"):
        nst.run([{**others[0], "size": 1}], "out")
    with pytest.raises(nst.ConfigError, match="expected the settings that its pictures were made"):
        nst.run(others, "out", overrides=STEPS, isolate=False, image_format="webp")
    with lease.held(f"{inputs}/out"), pytest.raises(nst.ConfigError, match="the only run here"):
        nst.run(others, "out", overrides=STEPS, isolate=False)
    assert kept.read_bytes() == before
    nst.run(others, "out", overrides=STEPS, isolate=False)
    assert json.loads(kept.read_text())["id"] == "two"


def test_rows_are_kept_without_the_credentials_that_they_were_refused_for(inputs: Path) -> None:
    signed = "https://host/a.png?token=canary"
    rows = [
        row_of("in/a.png", "in/s.png", id="one"),
        row_of(signed, "in/s.png", id="two"),
        row_of("in/a.png", "in/s.png", id="three", label_of="s3://K:canary@b"),
    ]
    report = nst.run(rows, "out", overrides=STEPS, isolate=False, keep_going=True)
    assert [record.outcome.id for record in report.failed] == ["two", "three"]
    for file in (inputs / "out").rglob("*"):
        assert file.is_dir() or b"canary" not in file.read_bytes(), file
    kept = [json.loads(line) for line in (inputs / "out/manifest.jsonl").read_text().splitlines()]
    assert [row["id"] for row in kept] == ["one", "two", "three"]
    assert kept[1]["content"] == "https://host/a.png?token=***"
    again = nst.run(
        inputs / "out/manifest.jsonl", "out", overrides=STEPS, isolate=False, keep_going=True
    )
    assert [record.outcome.id for record in again.failed] == ["two", "three"]
    assert again.num_done_before == 1


def test_an_output_whose_url_has_a_credential_is_not_opened() -> None:
    with pytest.raises(nst.ConfigError, match="without credentials") as caught:
        nst.open("s3://K:canary@b/out")
    assert "s3://***@b/out" in str(caught.value)


def test_metadata_that_is_none_is_told_by_its_file(inputs: Path) -> None:
    (inputs / "out").mkdir()
    file = inputs / "out/metadata.parquet"
    pq.write_table(pa.table({"id": ["one"]}), file)
    with pytest.raises(nst.ConfigError, match=f"{file}: expected .*, found no column 'picture'"):
        nst.open("out").picture("one")
    file.write_bytes(b"PAR1")
    with pytest.raises(nst.ConfigError, match=f"{file}: expected the metadata of a run, found 4"):
        _ = nst.open("out").metadata


def test_a_date_of_numpy_is_the_text_that_one_of_python_is() -> None:
    row = {"content": "/a.png", "style": "/s.png"}
    for day in (np.datetime64("2020-02-01"), date(2020, 2, 1)):
        assert _rows([{**row, "label_day": day}])[0]["label_day"] == "2020-02-01"


def test_a_plan_makes_nothing_and_says_what_would_be_made(inputs: Path) -> None:
    rows = [row_of("in/a.png", "in/s.png", id="one"), row_of("in/no.png", "in/s.png", id="two")]
    plan = nst.plan(rows, overrides=STEPS)
    assert plan.num_pictures_to_make == 1
    assert [failed.reason for failed in plan.failed] == ["input_not_found"]
    assert {path.name for path in inputs.iterdir()} == {"in"}


def test_every_setting_is_a_keyword_and_means_the_same(inputs: Path) -> None:
    for function in (nst.run, nst.plan):
        parameters = inspect.signature(function).parameters
        assert list(parameters)[-len(SETTING_FIELDS) :] == list(SETTING_FIELDS)
    given = {"roots": [inputs / "in"], "weights": {"vgg16": "torchvision"}, "lanes": None}
    assert _settings("out", given) == RunSettings(
        output=f"{inputs}/out", roots=(f"{inputs}/in",), weights={"vgg16": "torchvision"}
    )
    # As numbers and several texts come out of other code.
    more: dict[str, Any] = {
        "roots": {"in"},
        "lanes": np.int64(2),
        "schemes": (each for each in ["s3"]),
    }
    assert _settings("out", more) == RunSettings(
        output=f"{inputs}/out", roots=(f"{inputs}/in",), lanes=2, schemes=("s3",)
    )


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: nst.plan([], lanes=65), nst.ConfigError, "lanes: expected less than or equal to"),
        (
            lambda: nst.plan([], roots=ONE_TEXT),
            nst.ConfigError,
            "^roots: expected a list of texts; found 'in'$",
        ),
        (lambda: nst.plan([], device="gpu"), nst.ConfigError, "device: expected auto, cpu, mps"),
        (
            lambda: nst.plan([], lane=1),
            nst.ConfigError,
            r"\(did you mean 'lanes'\?\); found 'lane'",
        ),
        (
            lambda: nst.plan([], weights={"x": "y"}),
            nst.ConfigError,
            "weights: expected one of vgg16",
        ),
        (lambda: nst.plan({"content": "a"}), nst.ManifestError, "manifest: expected a path.*dict"),
        (lambda: nst.plan(5), nst.ManifestError, "manifest: expected a path, a URL.*; found int"),
        (lambda: nst.plan([5]), nst.ManifestError, "found int as row 1"),
        (
            lambda: nst.plan([{"content": b"", "style": "s"}]),
            nst.ManifestError,
            "column 'content': expected text, a number or a list of them; found bytes",
        ),
        (lambda: nst.plan([], overrides={"stepz": 1}), nst.ManifestError, "did you mean 'steps'"),
        (
            lambda: nst.open("in"),
            nst.ConfigError,
            "expected the output of a run, found no metadata",
        ),
        (
            lambda: nst.stylize("a", "s|t"),
            nst.ConfigError,
            r"^style: .*without '\|'.*; found 's\|t'",
        ),
        (lambda: nst.stylize(NOTHING, "s"), nst.ConfigError, "content: expected .*NoneType"),
        (lambda: nst.run([], NOTHING), nst.ConfigError, "^output: expected a path .*NoneType"),
        (
            lambda: nst.plan([], FIVE),
            nst.ConfigError,
            "^output: expected a path or a URL; found int",
        ),
        (lambda: nst.open(NOTHING), nst.ConfigError, "^output: expected a path or a URL"),
        (lambda: nst.plan([], overrides=FIVE), nst.ConfigError, "^overrides: .*; found int$"),
        (lambda: nst.plan([], overrides={FIVE: 1}), nst.ConfigError, "^overrides: .*; found 5$"),
        (
            lambda: nst.run([], "out", listener=FIVE),
            nst.ConfigError,
            "^listener: .*; found int without planned, advanced, begun, recorded$",
        ),
        (lambda: nst.stylize(FIVE, "s"), nst.ConfigError, "content: expected a path, a URL, a PIL"),
        (
            lambda: nst.stylize("in/a.png", [NOTHING]),
            nst.ConfigError,
            "style-1: expected .*NoneType",
        ),
        (
            lambda: nst.stylize(FLOATS, "in/s.png"),
            nst.ImageError,
            r"content: expected an array of H x W x 3 uint8, found \(4, 4, 3\) float64",
        ),
        (lambda: nst.stylize("no.png", "in/s.png"), nst.NotFoundError, "there is no such file"),
        (
            lambda: nst.stylize("in/manifest.csv", "in/s.png"),
            nst.ImageError,
            "manifest.csv: expected",
        ),
        (lambda: nst.stylize("in/a.png", "in/s.png", "vgg61"), nst.ManifestError, "did you mean"),
    ],
)
@pytest.mark.usefixtures("inputs")
def test_what_cannot_be_is_said_in_full(call: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=f"(?s){said}"):
        call()


@pytest.mark.parametrize("reason", REASONS)
def test_a_picture_that_was_not_made_raises_what_its_reason_means(reason: Any) -> None:
    error = error_of(reason, "said")
    assert str(error) == "said"
    if reason not in (
        "bad_row",
        "input_changed",
        "diverged",
        "worker_died",
        "timed_out",
        "storage",
    ):
        assert error.reason == reason


@pytest.mark.usefixtures("inputs")
def test_a_listener_that_raises_costs_no_picture(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(nst.NoListener):
        def recorded(self, group: nst.Group, outcome: nst.Outcome) -> None:
            raise OSError("the disk of the log is full")

    rows = [row_of(f"in/{name}.png", "in/s.png", id=name) for name in "ab"]
    report = nst.run(rows, "out", overrides=STEPS, isolate=False, listener=Failing())
    assert (report.num_ok, report.num_failed) == (2, 0)
    assert caplog.text.count("the listener Failing has failed, and the run goes on: OSError") == 1


def test_masks_of_styles_are_looked_for_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cells = {"style": "s.png | t.png", "style_mask": " | m.png"}
    assert _with_absolute_paths(cells) == {
        "style": [f"{tmp_path}/s.png", f"{tmp_path}/t.png"],
        "style_mask": [" ", f"{tmp_path}/m.png"],
    }
