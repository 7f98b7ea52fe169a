"""A planned job's files -> what the engine optimises, and what comes of it -> a picture."""

import hashlib
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nst import colors, images, output, regions, storage
from nst.errors import ImageError
from nst.job import PictureParams, style_edge_px
from nst.plan import Input, PlannedJob
from nst.rulers import Sources
from nst.settings import RunSettings
from nst.targets import Item

_PREVIEW_PX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A planned job with its pictures decoded; `content` is as it is, before any recolouring.

    `sources` are what the picture is measured against.
    """

    planned: PlannedJob
    item: Item
    content: images.Picture
    sources: Sources


class Inputs:
    """The input pictures of a group, each read and checked once, and decoded once per size."""

    def __init__(self) -> None:
        self._bytes: dict[str, bytes] = {}
        self._pictures: dict[tuple[Any, ...], images.Picture] = {}
        self._to_show: set[str] = set()
        self._shown: set[str] = set()

    def load(self, planned: PlannedJob) -> Loaded:
        """Raises ImageError for a picture that cannot be used, StorageError for one not to be had."""
        params = planned.job.params
        size = (planned.height, planned.width)
        self._to_show |= {planned.content.digest, *(style.digest for style in planned.styles)}
        content = self._content(planned)
        mask = self._shaped(planned.mask, size)
        luma = None if mask is None else colors.luminance(mask)
        sources = self._sources(planned, content, luma)
        pixels, styles = _recolored(sources.content, sources.styles, params)
        keys = sources.style_keys
        if params.preserve_color != "none":
            keys = tuple(f"{key} {params.preserve_color} {sources.content_key}" for key in keys)
        return Loaded(
            planned=planned,
            item=Item(
                content=pixels,
                styles=styles,
                params=params,
                mask=luma,
                start=self._shaped(planned.start, size),
                style_keys=keys,
            ),
            content=content,
            sources=sources,
        )

    def write_previews(self, settings: RunSettings) -> None:
        """The gallery shows inputs that it may not be able to reach where they are."""
        # Not those that were read and could not be decoded, whose rows have failed by now.
        decoded = {digest for digest, *_ in self._pictures}
        new = (decoded & self._to_show) - self._shown
        if not new:
            return
        folder = storage.join(settings.output, output.INPUTS)
        for digest in new:
            large, small = output.preview_name(digest), output.small_preview_name(digest)
            # By their names: a list of the folder grows with the contents of the whole run. Where
            # the one that is written last is missing, both mostly are.
            there = {small} if storage.exists(storage.join(folder, small)) else set()
            if there and storage.exists(storage.join(folder, large)):
                there.add(large)
            for name, data in _previews(self._bytes[digest], large, small, there=there).items():
                storage.write_bytes(storage.join(folder, name), data)
        self._shown |= new

    def _sources(
        self, planned: PlannedJob, content: images.Picture, mask: Tensor | None
    ) -> Sources:
        params = planned.job.params
        edge = style_edge_px(params)
        styles = planned.styles
        size = (planned.height, planned.width)
        return Sources(
            content=torch.from_numpy(content.pixels),
            content_key=f"{planned.content.digest} {size} {params.content_size}",
            styles=tuple(torch.from_numpy(self._decoded(each, edge).pixels) for each in styles),
            style_keys=tuple(f"{each.digest} {edge}" for each in styles),
            shares=_shares(params, mask, len(styles)),
        )

    def _content(self, planned: PlannedJob) -> images.Picture:
        params = planned.job.params
        found = self._decoded(planned.content, params.size, upscale=True)
        if found.pixels.shape[1:] != (planned.height, planned.width):
            raise ImageError(
                f"{planned.content.uri}: expected {planned.height} x {planned.width} px as its "
                f"header says, found {found.pixels.shape[1]} x {found.pixels.shape[2]} (height x "
                "width)"
            )
        if params.content_size is None or params.content_size >= params.size:
            return found
        small = self._decoded(planned.content, params.content_size)
        return images.resized(small, planned.height, planned.width)

    def _shaped(self, source: Input | None, size: tuple[int, int]) -> Tensor | None:
        """A picture that lies over the content, at its size."""
        if source is None:
            return None
        found = images.resized(self._decoded(source, max(size)), *size)
        return torch.from_numpy(found.pixels)

    def _decoded(self, source: Input, edge: int, *, upscale: bool = False) -> images.Picture:
        key = (source.digest, edge, upscale)
        if key not in self._pictures:
            self._pictures[key] = images.decode(
                self._read(source), long_edge_px=edge, name=source.uri, upscale=upscale
            )
        return self._pictures[key]

    def _read(self, source: Input) -> bytes:
        if source.digest not in self._bytes:
            data = storage.read_bytes(source.uri, max_bytes=images.MAX_BYTES)
            if hashlib.sha256(data).hexdigest() != source.digest:
                raise ImageError(
                    f"{source.uri}: expected the file as it was when the run began, found it "
                    "changed; run it again",
                    reason="input_changed",
                )
            self._bytes[source.digest] = data
        return self._bytes[source.digest]


def _recolored(
    content: Tensor, styles: tuple[Tensor, ...], params: PictureParams
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What is optimised and what it is drawn to, for the colours that the picture is to keep."""
    match params.preserve_color:
        case "luminance":
            matched = tuple(colors.match_luminance(style, content) for style in styles)
            return colors.as_grey(content), matched
        case "match":
            return content, tuple(colors.match_colors(style, content) for style in styles)
    return content, styles


def _shares(params: PictureParams, mask: Tensor | None, num_styles: int) -> tuple[float, ...]:
    """How much of each style the picture is to have: by its area of the mask, or as blended."""
    if mask is not None and num_styles > 1:
        weights = regions.guides(mask, num_styles).mean(dim=(1, 2)).tolist()
    else:
        weights = list(params.style_blend or [1.0] * num_styles)
    return tuple(weight / sum(weights) for weight in weights)


def _previews(data: bytes, large: str, small: str, *, there: Container[str]) -> dict[str, bytes]:
    """Those of the two previews of an input that are not there, by name; decoded once for both."""
    if large in there and small in there:
        return {}
    shown = images.decode_preview(data, long_edge_px=_PREVIEW_PX, name=large)
    made = {}
    if large not in there:
        made[large] = images.encode(shown, "jpeg", {})
    if small not in there:
        edge = output.SMALL_PREVIEW_PX
        made[small] = images.thumbnails(shown, "webp", [edge]).files[edge]
    return made


def finished(loaded: Loaded, image: Tensor) -> images.Picture:
    """The picture that is written: what was painted [3,H,W], in the colours it was to have."""
    if loaded.planned.job.params.preserve_color == "luminance":
        image = colors.with_colors_of(image, torch.from_numpy(loaded.content.pixels))
    return images.Picture(image.numpy(), loaded.content.alpha)
