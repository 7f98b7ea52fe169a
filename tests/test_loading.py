import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nst.errors import ImageError
from nst.job import PictureParams, job_key
from nst.painting.weights import WeightsFile
from nst.planning.plan import Input, PlannedJob
from nst.running.loading import Inputs, Loaded, finished
from tests.helpers import encoded, job, picture, picture_bytes, picture_tensor

SIZE = (48, 64)


def loaded(
    folder: Path,
    *,
    num_styles: int = 1,
    mask: bool = False,
    files: Mapping[str, bytes] = MappingProxyType({}),
    **params: Any,
) -> Loaded:
    """A content of SIZE and styles of 40 x 50 px, at their own size unless `params` say else.

    `files` are there in place of those pictures, or as `p.png`, a picture to start from, or as
    `u0.png`, a mask of the first style.
    """

    def source(name: str, height: int, width: int, seed: int) -> Input:
        data = files.get(name) or picture_bytes(height, width, seed=seed)
        (folder / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        return Input(uri=str(folder / name), digest=digest, height=height, width=width)

    content = source("a.png", *SIZE, 0)
    styles = tuple(source(f"s{n}.png", 40, 50, 1 + n) for n in range(num_styles))
    over = source("m.png", *SIZE, 9) if mask else None
    start = source("p.png", *SIZE, 9) if "p.png" in files else None
    used = source("u0.png", 40, 50, 9) if "u0.png" in files else None
    style_masks = (used, *(None for _ in styles[1:])) if used else ()
    planned = PlannedJob(
        job=job(
            params=PictureParams(**{"size": 64} | params),
            content=content.uri,
            styles=tuple(style.uri for style in styles),
            mask=over and over.uri,
            start=start and start.uri,
            style_masks=tuple(each and each.uri for each in style_masks),
        ),
        key=None,
        content=content,
        styles=styles,
        mask=over,
        start=start,
        style_masks=style_masks,
        height=SIZE[0],
        width=SIZE[1],
    )
    weights = WeightsFile(backbone="vgg16", origin="file", uri="/vgg16", digest="w")
    return Inputs(weights, [planned]).load(planned)


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


def test_the_contents_own_size_is_that_of_its_style_too(tmp_path: Path) -> None:
    found = loaded(tmp_path, size="content", style_scale=0.5)
    assert found.item.content.shape == (3, *SIZE)
    assert max(found.item.styles[0].shape[1:]) == max(SIZE) // 2
    small = loaded(tmp_path, size="content", content_size=32)
    assert small.item.content.shape == (3, *SIZE)
    assert not torch.equal(small.item.content, found.item.content)


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


def half_clear(height: int, width: int) -> bytes:
    """A picture of which the left half is transparent, and magenta there."""
    image = Image.fromarray(picture(height, width, seed=4)).convert("RGBA")
    image.paste((255, 0, 255, 0), (0, 0, width // 2, height))
    return encoded(image)


def test_a_transparent_style_is_on_its_own_mean_and_has_its_alpha(tmp_path: Path) -> None:
    found = loaded(tmp_path, files={"s0.png": half_clear(40, 50)})
    (style,), (alpha,) = found.item.styles, found.item.alphas
    assert alpha is not None
    assert alpha.shape == (1, 40, 50)
    assert alpha[0, 7].tolist() == [0] * 25 + [1] * 25
    expected = picture_tensor(40, 50, seed=4)[:, :, 25:]
    torch.testing.assert_close(style[:, :, 25:], expected)
    torch.testing.assert_close(style[:, 3, 3], expected.mean(dim=(1, 2)))
    assert found.sources.style_alphas == found.item.alphas


@pytest.mark.parametrize("size", [64, "content"])
def test_what_is_kept_of_a_content_that_is_shrunk_to_be_painted_is_sharp(
    tmp_path: Path, size: int | str
) -> None:
    files = {"a.png": half_clear(*SIZE)}
    painted = picture_tensor(*SIZE, seed=7)
    for mode in ("none", "luminance"):
        own: dict[str, Any] = {"size": size, "preserve_color": mode, "files": files}
        whole, small = loaded(tmp_path, **own), loaded(tmp_path, content_size=32, **own)
        assert not torch.equal(whole.item.content, small.item.content)
        assert not torch.equal(whole.sources.content, small.sources.content)
        made, expected = finished(small, painted), finished(whole, painted)
        assert np.array_equal(made.pixels, expected.pixels)
        assert made.alpha is not None
        assert made.alpha[7].tolist() == [0] * 32 + [1] * 32


def test_an_opaque_style_has_no_alpha(tmp_path: Path) -> None:
    opaque = encoded(Image.fromarray(picture(40, 50, seed=1)).convert("RGBA"))
    found = loaded(tmp_path, files={"s0.png": opaque})
    assert found.item.alphas == (None,)
    assert torch.equal(found.item.styles[0], picture_tensor(40, 50, seed=1))


def test_a_style_that_is_transparent_everywhere_is_refused(tmp_path: Path) -> None:
    clear = encoded(Image.new("RGBA", (50, 40)))
    with pytest.raises(ImageError, match=r"s0\.png: expected a style .* transparent everywhere"):
        loaded(tmp_path, files={"s0.png": clear})


def levels(width: int = 50) -> NDArray[np.uint8]:
    """A mask of 40 px: black, a dark grey, a bright one and white, from left to right."""
    return (
        np.repeat([[0, 64, 191, 255]], 40, axis=0)
        .repeat([20, 10, 10, width - 40], axis=1)
        .astype("u1")
    )


def test_a_style_is_used_by_its_mask_as_by_an_alpha_of_its_own(tmp_path: Path) -> None:
    colours = picture(40, 50, seed=1)
    mask, alpha = encoded(Image.fromarray(levels())), np.dstack([colours, levels()])
    masked = loaded(tmp_path, files={"u0.png": mask}, num_styles=2)
    clear = loaded(tmp_path, files={"s0.png": encoded(Image.fromarray(alpha))}, num_styles=2)
    for of_mask, of_alpha in zip(masked.item.styles, clear.item.styles, strict=True):
        torch.testing.assert_close(of_mask, of_alpha, rtol=0, atol=2 / 255)
    used = masked.item.alphas[0]
    assert used is not None
    assert used[0, 7, ::10].mul(255).round().tolist() == [0, 0, 64, 191, 255]
    assert masked.item.alphas[1] is None
    assert masked.sources.style_alphas == masked.item.alphas


def test_a_mask_leaves_out_of_a_transparent_style_what_both_do(tmp_path: Path) -> None:
    above = np.zeros((40, 50), np.uint8)
    above[:20] = 255
    mask = encoded(Image.fromarray(above))
    both = loaded(tmp_path, files={"s0.png": half_clear(40, 50), "u0.png": mask})
    (style,), (alpha,) = both.item.styles, both.item.alphas
    assert alpha is not None
    assert alpha.sum() == alpha[0, :20, 25:].sum() == 20 * 25
    used = picture_tensor(40, 50, seed=4)[:, :20, 25:]
    torch.testing.assert_close(style[:, :20, 25:], used)
    torch.testing.assert_close(style[:, 39, 49], used.mean(dim=(1, 2)))


def test_what_a_mask_leaves_of_a_style_has_a_key_of_its_own(tmp_path: Path) -> None:
    masks = [encoded(Image.fromarray(each)) for each in (levels(), np.fliplr(levels()))]
    found = [loaded(tmp_path), *(loaded(tmp_path, files={"u0.png": mask}) for mask in masks)]
    assert len({each.item.style_keys for each in found}) == 3
    assert len({each.planned.key for each in found}) == 3


def test_a_mask_that_is_larger_than_its_style_fits_it(tmp_path: Path) -> None:
    large = levels().repeat(3, axis=0).repeat(3, axis=1)
    found = loaded(tmp_path, files={"u0.png": encoded(Image.fromarray(large))}, style_scale=0.5)
    (alpha,) = found.item.alphas
    assert alpha is not None
    assert alpha.shape[1:] == found.item.styles[0].shape[1:] == (26, 32)


def test_a_mask_that_leaves_nothing_of_its_style_is_refused(tmp_path: Path) -> None:
    said = r"u0\.png: expected a mask that is white where .*s0\.png gives the style"
    for mask, style in (
        (np.zeros((40, 50)), b""),
        (levels()[:, ::-1] // 128 * 255, half_clear(40, 50)),
    ):
        files = {"u0.png": encoded(Image.fromarray(mask.astype("u1")))}
        with pytest.raises(ImageError, match=said):
            loaded(tmp_path, files=files | ({"s0.png": style} if style else {}))


def test_a_mask_of_one_grey_uses_its_style_alike_and_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grey = loaded(tmp_path, files={"u0.png": encoded(Image.new("L", (50, 40), 128))})
    assert (
        "u0.png: expected a mask that tells parts of the picture apart, found grey 128"
        in caplog.text
    )
    assert "its style is used alike everywhere" in caplog.text
    (alpha,) = grey.item.alphas
    assert alpha is not None
    assert alpha.min() == alpha.max()


def test_a_start_shows_the_content_where_it_is_transparent(tmp_path: Path) -> None:
    found = loaded(tmp_path, files={"p.png": half_clear(*SIZE)}, init="picture")
    assert found.item.start is not None
    content, start = picture_tensor(*SIZE), picture_tensor(*SIZE, seed=4)
    torch.testing.assert_close(found.item.start[:, :, :32], content[:, :, :32])
    torch.testing.assert_close(found.item.start[:, :, 32:], start[:, :, 32:])


def test_the_key_of_what_is_loaded_tells_of_transparency(tmp_path: Path) -> None:
    opaque = loaded(tmp_path)
    clear = loaded(tmp_path, files={"s0.png": half_clear(40, 50)})
    digests = {each.uri: str(each.digest) for each in clear.planned.inputs}
    plain = job_key(clear.planned.job, digests=digests, weights_digest="w")
    assert [each.transparency for each in clear.planned.inputs] == ["none", "some"]
    assert clear.planned.key != plain
    digests = {each.uri: str(each.digest) for each in opaque.planned.inputs}
    assert opaque.planned.key == job_key(opaque.planned.job, digests=digests, weights_digest="w")


def test_a_content_that_is_transparent_everywhere_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded(tmp_path, files={"a.png": encoded(Image.new("RGBA", (64, 48)))})
    assert "a.png: it is transparent everywhere" in caplog.text
    caplog.clear()
    loaded(tmp_path, files={"a.png": half_clear(*SIZE)})
    assert not caplog.records


def test_a_mask_that_tells_nothing_apart_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded(tmp_path, mask=True, files={"m.png": encoded(Image.new("L", (64, 48), 128))})
    assert "found grey 128 of 255 everywhere" in caplog.text
    caplog.clear()
    loaded(tmp_path, mask=True, files={"m.png": half_clear(*SIZE)})
    assert "m.png: where this mask is transparent, it counts as white" in caplog.text
    caplog.clear()
    loaded(tmp_path, mask=True)
    assert not caplog.records
