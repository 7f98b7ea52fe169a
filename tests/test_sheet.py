"""Contact sheets: which picture stands where, labels, what is missing, and their bounds."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFont

from nst import storage
from nst.errors import ConfigError
from nst.gallery.sheet import Sheet, make_sheet
from nst.pictures import contact
from tests.browser import samples
from tests.helpers import encoded, nst

_COLORS = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30))


def solid(color: tuple[int, int, int], width: int = 40, height: int = 30) -> bytes:
    return encoded(Image.new("RGB", (width, height), color))


def opened(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def made(folder: Path) -> Path:
    """An output of 2 contents x 2 styles x 2 backbones, the pictures of the first backbone plain."""
    some = [
        samples.Sample(
            number=n,
            content=f"pictures/c-{n // 4}.jpg",
            style=f"s{n // 2 % 2}.jpg",
            backbone=samples.BACKBONES[n % 2],
            outcome={"thumbnail": None},
        )
        for n in range(8)
    ]
    some[6] = some[6].failed("diverged", "the loss became nan")
    samples.write(folder, some)
    shutil.rmtree(folder / "thumbs")
    for n, color in zip((0, 2, 4), _COLORS, strict=False):
        # A file of its own, since those of the samples share theirs.
        (folder / f"images/p{n:05}.png").unlink()
        (folder / f"images/p{n:05}.png").write_bytes(solid(color))
    return folder


def sheet(folder: Path, **changes: object) -> Sheet:
    wanted = {
        "x": "style",
        "y": "content",
        "where": {"backbone": "vgg16"},
        "cell_px": 40,
        "sheet_format": "png",
    }
    return make_sheet(str(folder), **(wanted | changes))  # type: ignore[arg-type]


def places(data: bytes) -> dict[tuple[int, int, int], tuple[float, float]]:
    """The middle of each colour of `_COLORS` on a sheet, as x and y; those that it has."""
    pixels = opened(data)
    found = {}
    for color in _COLORS:
        ys, xs = np.nonzero((pixels == color).all(axis=2))
        if len(xs):
            found[color] = (float(xs.mean()), float(ys.mean()))
    return found


def test_one_field_goes_across_and_the_other_down(tmp_path: Path) -> None:
    one = sheet(made(tmp_path))
    assert (one.num_shown, one.num_left_out) == (4, 0)
    at = places(one.data)
    red, green, blue = (at[color] for color in _COLORS[:3])
    assert red[1] == green[1] < blue[1]
    assert red[0] == blue[0] < green[0]
    turned = places(sheet(tmp_path, x="content", y="style").data)
    assert turned[_COLORS[0]][1] == turned[_COLORS[2]][1] < turned[_COLORS[1]][1]


def test_values_that_look_alike_are_labelled_as_they_are_written(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        labels: list[Any] = []

        def kept(_: object, **told: object) -> bytes:
            labels.append(told)
            return b""

        patched.setattr(contact, "contact_sheet", kept)
        names = ("a/wave.jpg", "b/wave.jpg", "great-hall.jpg")
        samples.write(
            tmp_path, [samples.Sample(number=n, content=name) for n, name in enumerate(names)]
        )
        sheet(tmp_path, where={})
    assert labels[0]["row_labels"] == ["a/wave.jpg", "b/wave.jpg", "great hall"]
    assert labels[0]["column_labels"] == ["wave"]


def test_pictures_that_share_a_cell_are_counted(tmp_path: Path) -> None:
    one = sheet(made(tmp_path), where={})
    assert (one.num_shown, one.num_left_out) == (4, 4)


def test_what_is_asked_for_wrong_is_told_with_what_there_is(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(ConfigError, match=r"such as .*backbone.*; found 'painter'"):
        sheet(tmp_path, x="painter")
    with pytest.raises(ConfigError, match=r"--where backbone: expected one of .*; found 'alexnet'"):
        sheet(tmp_path, where={"backbone": "alexnet"})
    with pytest.raises(ConfigError, match="none that --where leaves"):
        sheet(tmp_path, where={"style": "s1", "id": "p00000"})
    with pytest.raises(ConfigError, match="expected the output of a run"):
        sheet(tmp_path / "nothing")


def test_a_sheet_that_no_program_shows_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="make the cells smaller with --cell"):
        contact.contact_sheet(
            iter(()),
            row_labels=["a"] * 100,
            column_labels=["b"] * 100,
            title="",
            cell_px=256,
            sheet_format="png",
        )


def test_rows_are_taken_one_after_the_other() -> None:
    """No more than one row of pictures is held beside the sheet."""
    taken = []

    def rows() -> object:
        for n in range(3):
            taken.append(n)
            yield [solid(_COLORS[n])]

    data = contact.contact_sheet(
        rows(),  # type: ignore[arg-type]
        row_labels=["a", "b", "a label that is far too long for its place " * 9],
        column_labels=["東京 Zürich"],
        title="t",
        cell_px=64,
        sheet_format="png",
    )
    assert taken == [0, 1, 2]
    assert len(places(data)) == 3


@pytest.mark.parametrize("text", ["wave", "a great wave of Kanagawa", "東京 " * 9, "i" * 10_000])
@pytest.mark.parametrize("width", [0, 30, 64, 200])
def test_a_label_is_cut_where_it_no_longer_fits(
    text: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    font = ImageFont.load_default(11)
    assert isinstance(font, ImageFont.FreeTypeFont)
    measure, measured = font.getlength, []

    def counted(each: str) -> float:
        measured.append(each)
        return measure(each)

    monkeypatch.setattr(font, "getlength", counted)
    cut = contact._cut(text, font, width)
    assert len(measured) < 20
    if cut == text:
        assert measure(text) <= width
    else:
        kept = cut.removesuffix("…")
        assert text.startswith(kept)
        assert not kept or measure(cut) <= width
        # With one letter more, and the spaces before it, it would be too wide.
        rest = text[len(kept) :]
        more = len(kept) + len(rest) - len(rest.lstrip()) + 1
        assert measure(text[:more] + "…") > width


def test_the_command_writes_a_jpeg_or_a_png(tmp_path: Path) -> None:
    folder = made(tmp_path / "out")
    for name, kind in (("a.jpg", "JPEG"), ("b.png", "PNG")):
        done = nst("sheet", folder, "--to", tmp_path / name, "--where", "backbone=vgg19")
        assert done.returncode == 0, done.stderr
        assert f"{name}, 4 pictures" in done.stdout
        with Image.open(tmp_path / name) as image:
            assert image.format == kind
    done = nst("sheet", folder, "--to", tmp_path / "b.png")
    assert done.returncode == 2
    assert "is there; choose another, or give --replace" in done.stderr
    assert nst("sheet", folder, "--to", tmp_path / "b.png", "--replace").returncode == 0
    done = nst("sheet", folder, "--to", tmp_path / "c.gif")
    assert done.returncode == 2
    assert "expected a file that ends in .png or .jpg" in done.stderr
    assert "4 pictures left out" in nst("sheet", folder, "--to", tmp_path / "d.png").stdout


def test_a_picture_whose_files_are_gone_leaves_its_cell(tmp_path: Path) -> None:
    made(tmp_path)
    storage.delete(str(tmp_path / "images/p00002.png"))
    one = sheet(tmp_path)
    assert set(places(one.data)) == {_COLORS[0], _COLORS[2]}
