import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from nst.job import PictureParams
from nst.painting.weights import WeightsFile
from nst.planning.plan import Input, PlannedJob
from nst.running.loading import Inputs, Loaded
from tests.helpers import job, picture_bytes, picture_tensor

SIZE = (48, 64)


def loaded(folder: Path, *, num_styles: int = 1, mask: bool = False, **params: Any) -> Loaded:
    """A content of SIZE and styles of 40 x 50 px, at their own size unless `params` say else."""

    def source(name: str, height: int, width: int, seed: int) -> Input:
        data = picture_bytes(height, width, seed=seed)
        (folder / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        return Input(uri=str(folder / name), digest=digest, height=height, width=width)

    content = source("a.png", *SIZE, 0)
    styles = tuple(source(f"s{n}.png", 40, 50, 1 + n) for n in range(num_styles))
    over = source("m.png", *SIZE, 9) if mask else None
    planned = PlannedJob(
        job=job(
            params=PictureParams(**{"size": 64} | params),
            content=content.uri,
            styles=tuple(style.uri for style in styles),
            mask=over and over.uri,
        ),
        key=None,
        content=content,
        styles=styles,
        mask=over,
        start=None,
        height=SIZE[0],
        width=SIZE[1],
    )
    weights = WeightsFile(backbone="vgg16", origin="file", uri="/vgg16", digest="w")
    return Inputs(weights).load(planned)


@pytest.mark.parametrize("preserve_color", ["none", "match", "luminance"])
def test_a_picture_is_measured_against_its_sources_as_they_are(
    tmp_path: Path, preserve_color: str
) -> None:
    found = loaded(tmp_path, num_styles=2, preserve_color=preserve_color)
    assert torch.equal(found.sources.content, picture_tensor(*SIZE))
    for number, style in enumerate(found.sources.styles):
        assert torch.equal(style, picture_tensor(40, 50, seed=1 + number))
    is_recolored = [
        not torch.equal(painted, style)
        for painted, style in zip(found.item.styles, found.sources.styles, strict=True)
    ]
    assert is_recolored == [preserve_color != "none"] * 2


def test_a_style_is_measured_at_the_size_at_which_it_is_looked_at(tmp_path: Path) -> None:
    found = loaded(tmp_path, style_scale=0.5)
    assert [style.shape for style in found.sources.styles] == [(3, 26, 32)]
    assert [style.shape for style in found.item.styles] == [(3, 26, 32)]


def test_shares_are_as_blended_or_by_the_area_of_the_mask(tmp_path: Path) -> None:
    assert loaded(tmp_path).sources.shares == (1,)
    assert loaded(tmp_path, mask=True).sources.shares == (1,)
    assert loaded(tmp_path, num_styles=2).sources.shares == (0.5, 0.5)
    assert loaded(tmp_path, num_styles=2, style_blend=(3, 1)).sources.shares == (0.75, 0.25)
    found = loaded(tmp_path, num_styles=3, mask=True)
    assert found.item.mask is not None
    mask = found.item.mask.flatten().tolist()
    white = sum(max(0, 2 * level - 1) for level in mask) / len(mask)
    black = sum(max(0, 1 - 2 * level) for level in mask) / len(mask)
    assert found.sources.shares == pytest.approx((black, 1 - black - white, white), rel=1e-4)
    assert 0.1 < black != pytest.approx(white)


def test_keys_tell_apart_what_has_other_pixels(tmp_path: Path) -> None:
    variants: list[dict[str, Any]] = [{}, {"content_size": 32}, {"style_scale": 0.5}]
    found = [loaded(tmp_path, **variant).sources for variant in variants]
    keys = [(each.content_key, *each.style_keys) for each in found]
    assert keys[0][0] != keys[1][0]
    assert keys[0][0] == keys[2][0]
    assert keys[0][1] == keys[1][1]
    assert keys[0][1] != keys[2][1]
