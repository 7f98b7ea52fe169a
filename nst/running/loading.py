"""A planned job's files -> an item for the engine, and the engine's result -> a picture."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nst import output, storage
from nst.errors import ImageError, NSTError, ends_the_run
from nst.job import PictureParams, inputs_key, job_key, params_as_json, recipe, style_edge_px
from nst.painting import Item, Sources, WeightsFile, colors, regions
from nst.pictures import images
from nst.planning import Input, PlannedJob
from nst.running.previews import previews
from nst.settings import RunSettings

_log = logging.getLogger(__name__)

_LEAST_GREY = 1 / 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A planned job with its pictures decoded; `content` is the original, before any recolouring.

    A `content_size` does not shrink it, so that what is kept of it (colours, alpha) is sharp. `planned`
    has the digests, versions and keys of the bytes that were decoded. `sources` are the pictures with
    which the result is compared.
    """

    planned: PlannedJob
    item: Item
    content: images.Picture
    sources: Sources


class Inputs:
    """The input pictures of a group, each read and checked once, and decoded once per size.

    `weights` and `jobs` are those of the group. An input stays in memory until the last job that needs
    it is let go: a group may have hundreds of scans of 50 MB, of which it paints small pictures.
    """

    def __init__(self, weights: WeightsFile, jobs: Iterable[PlannedJob]) -> None:
        self._weights = weights
        self._num_uses = Counter(uri for planned in jobs for uri in _uris_of(planned))
        # Several files may have the same bytes.
        self._files: dict[str, set[str]] = {}
        self._read: dict[str, Input] = {}
        self._bytes: dict[str, bytes] = {}
        self._pictures: dict[str, dict[tuple[int, bool], images.Picture]] = {}
        self._decodable: set[str] = set()
        self._to_show: set[str] = set()
        self._shown: set[str] = set()
        self._told: set[tuple[str, str]] = set()

    def load(self, planned: PlannedJob) -> Loaded:
        """Load a job's pictures. Raises ImageError for an unusable picture, StorageError if it cannot be read."""
        errors = [self._error_of(source) for source in planned.inputs]
        planned = self.as_read(planned)
        self._to_show |= {each.digest for each in (planned.content, *planned.styles) if each.digest}
        # After all of them were read, so that what is told of a failure is told of all of them.
        for error in errors:
            if error is not None:
                raise error
        params = planned.job.params
        size = (planned.height, planned.width)
        content = self._content(planned)
        luma = self._content_mask(planned.mask, size)
        sources = self._sources(planned, self._as_painted(planned, content), luma)
        alphas = sources.style_alphas
        pixels, styles = colors.prepared(
            sources.content, sources.styles, alphas, params.preserve_color
        )
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
                start=self._start(planned.start, sources.content),
                style_keys=keys,
                style_alphas=alphas,
            ),
            content=content,
            sources=sources,
        )

    def as_read(self, planned: PlannedJob) -> PlannedJob:
        """The job with the digests of the inputs that were read; if all were read, also with its keys."""
        content, *styles = (
            self._read.get(each.uri, each) for each in (planned.content, *planned.styles)
        )
        mask, start, *style_masks = (
            each and self._read.get(each.uri, each)
            for each in (planned.mask, planned.start, *planned.style_masks)
        )
        found = replace(
            planned,
            content=content,
            styles=tuple(styles),
            mask=mask,
            start=start,
            style_masks=tuple(style_masks),
        )
        if not all(each.uri in self._read for each in found.inputs):
            return found
        job, file = planned.job, self._weights
        digests = {each.uri: each.digest for each in found.inputs if each.digest is not None}
        versions = {each.uri: each.version for each in found.inputs if each.version is not None}
        params = params_as_json(job.params)
        key = job_key(
            job,
            digests=digests,
            transparent={each.uri: each.transparency for each in found.inputs},
            weights_digest=file.digest,
            topology=file.topology,
            params=params,
        )
        how = recipe(job, file.digest, file.topology, params)
        return replace(found, key=key, inputs_key=inputs_key(job, how, versions))

    def write_previews(self, settings: RunSettings) -> None:
        """Write the previews of inputs, since the gallery may not be able to reach the inputs themselves."""
        # Not those that were read and could not be decoded, whose rows have failed by now.
        new = (self._decodable & self._to_show & self._bytes.keys()) - self._shown
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
            for name, data in previews(self._bytes[digest], large, small, there=there).items():
                storage.write_bytes(storage.join(folder, name), data)
        self._shown |= new

    def let_go(self, planned: PlannedJob) -> None:
        """Forget the pictures that no later job needs; to be called once of each job, after its previews."""
        for uri in _uris_of(planned):
            self._num_uses[uri] -= 1
            found = self._read.get(uri)
            if found is None or found.digest is None or self._num_uses[uri] > 0:
                continue
            files = self._files[found.digest]
            files.discard(uri)
            if not files:
                self._bytes.pop(found.digest, None)
                self._pictures.pop(found.digest, None)

    def _sources(
        self, planned: PlannedJob, content: images.Picture, mask: Tensor | None
    ) -> Sources:
        params = planned.job.params
        edge = style_edge_px(params, max(planned.height, planned.width))
        styles = planned.styles
        masks = planned.style_masks or (None,) * len(styles)
        size = (planned.height, planned.width)
        seen = [self._style(*both, edge) for both in zip(styles, masks, strict=True)]
        return Sources(
            content=torch.from_numpy(content.pixels),
            content_key=f"{planned.content.digest} {size} {params.content_size}",
            styles=tuple(pixels for pixels, _ in seen),
            style_keys=tuple(
                f"{each.digest} {edge}" + (f" {mask.digest}" if mask else "")
                for each, mask in zip(styles, masks, strict=True)
            ),
            style_alphas=tuple(alpha for _, alpha in seen),
            shares=_shares(params, mask, len(styles)),
        )

    def _content(self, planned: PlannedJob) -> images.Picture:
        long_edge = max(planned.height, planned.width)
        found = self._decoded(planned.content, long_edge, upscale=True)
        if found.alpha is not None and not found.alpha.any():
            self._warn(planned.content, "it is transparent everywhere, and so is what is painted")
        if found.pixels.shape[1:] != (planned.height, planned.width):
            raise ImageError(
                f"{planned.content.uri}: expected {planned.height} x {planned.width} px as its "
                f"header says, found {found.pixels.shape[1]} x {found.pixels.shape[2]} (height x "
                "width)"
            )
        return found

    def _as_painted(self, planned: PlannedJob, content: images.Picture) -> images.Picture:
        """The content without the details that its parameters leave out."""
        params = planned.job.params
        if params.content_size is None or params.content_size >= max(planned.height, planned.width):
            return content
        small = self._decoded(planned.content, params.content_size)
        return images.resized(small, planned.height, planned.width)

    def _style(self, source: Input, mask: Input | None, edge: int) -> tuple[Tensor, Tensor | None]:
        """A style and its alpha [1,h,w]; what is transparent is in its mean colour and not in white.

        What its mask leaves out is as if it were transparent.
        """
        found = self._decoded(source, edge)
        pixels = torch.from_numpy(found.pixels)
        alpha = None if found.alpha is None else torch.from_numpy(found.alpha)[None]
        if alpha is not None and not alpha.any():
            raise ImageError(
                f"{source.uri}: expected a style of which something can be seen, found one that is "
                "transparent everywhere; remove its alpha channel, or use another picture"
            )
        if mask is not None:
            used = self._mask(mask, (pixels.shape[1], pixels.shape[2]))
            alpha = used if alpha is None else used * alpha
            if not (alpha >= _LEAST_GREY).any():
                raise ImageError(
                    f"{mask.uri}: expected a mask that is white where {source.uri} gives the style, "
                    "found it black wherever that can be seen; draw the part to use in white"
                )
            self._warn_of_one_grey(mask, used, "its style is used alike everywhere")
            # On white, as a transparent picture is.
            pixels = 1 - used * (1 - pixels)
        return (pixels, None) if alpha is None else (colors.on_own_mean(pixels, alpha), alpha)

    def _content_mask(self, source: Input | None, size: tuple[int, int]) -> Tensor | None:
        if source is None:
            return None
        luma = self._mask(source, size)
        self._warn_of_one_grey(source, luma, "its row is painted alike everywhere")
        return luma

    def _mask(self, source: Input, size: tuple[int, int]) -> Tensor:
        """The luma of a mask [1,H,W] at the size of its content or style."""
        found = images.resized(self._decoded(source, max(size)), *size)
        luma = colors.luminance(torch.from_numpy(found.pixels))
        if found.alpha is not None:
            self._warn(source, "where this mask is transparent, it counts as white")
        return luma

    def _warn_of_one_grey(self, source: Input, luma: Tensor, what_then: str) -> None:
        if luma.max() - luma.min() < _LEAST_GREY:
            grey = round(255 * luma.mean().item())
            self._warn(
                source,
                f"expected a mask that tells parts of the picture apart, found grey {grey} of 255 "
                f"everywhere; {what_then}",
            )

    def _warn(self, source: Input, said: str) -> None:
        """Once of each input."""
        if (source.uri, said) not in self._told:
            self._told.add((source.uri, said))
            _log.warning("%s: %s", source.uri, said)

    def _start(self, source: Input | None, content: Tensor) -> Tensor | None:
        """A start at the content's size; where it is transparent, it shows the content."""
        if source is None:
            return None
        height, width = content.shape[1:]
        found = images.resized(self._decoded(source, max(height, width)), height, width)
        pixels = torch.from_numpy(found.pixels)
        if found.alpha is None:
            return pixels
        # It is on white, of which so much is taken away.
        ground = (1 - torch.from_numpy(found.alpha)) * (1 - content)
        return (pixels - ground).clamp(0, 1)

    def _decoded(self, source: Input, edge: int, *, upscale: bool = False) -> images.Picture:
        assert source.digest is not None
        pictures = self._pictures.setdefault(source.digest, {})
        key = (edge, upscale)
        if key not in pictures:
            pictures[key] = images.decode(
                self._bytes[source.digest],
                long_edge_px=edge,
                name=source.uri,
                upscale=upscale,
                # Once, at however many sizes it is decoded.
                warns=source.digest not in self._decodable,
            )
            self._decodable.add(source.digest)
        return pictures[key]

    def _error_of(self, source: Input) -> NSTError | None:
        """The error of an input that was read but cannot be used; None if it can."""
        if source.uri in self._read:
            return None
        try:
            found = storage.read_input(source.uri, max_bytes=images.MAX_BYTES)
        except NSTError as exc:
            if ends_the_run(exc):
                raise
            return exc
        digest = hashlib.sha256(found.data).hexdigest()
        is_changed = (
            found.version.is_of_other_bytes(source.version or "")
            if source.digest is None
            else digest != source.digest
        )
        if is_changed:
            return ImageError(
                f"{source.uri}: expected the file as it was when the run began, found it changed; "
                "run it again",
                reason="input_changed",
            )
        self._bytes[digest] = found.data
        self._files.setdefault(digest, set()).add(source.uri)
        self._read[source.uri] = replace(
            source,
            digest=digest,
            version=found.version.settled,
            transparency=images.transparency_of(found.data, name=source.uri),
        )
        return None


def _uris_of(planned: PlannedJob) -> set[str]:
    return {source.uri for source in planned.inputs}


def _shares(params: PictureParams, mask: Tensor | None, num_styles: int) -> tuple[float, ...]:
    """The share of each style: by its area of the mask, or by `style_blend`."""
    if mask is not None and num_styles > 1:
        weights = regions.guides(mask, num_styles).mean(dim=(1, 2)).tolist()
    else:
        weights = list(params.style_blend or [1.0] * num_styles)
    return tuple(weight / sum(weights) for weight in weights)


def finished(loaded: Loaded, image: Tensor) -> images.Picture:
    """The picture to write: the painted one [3,H,W] with its final colours."""
    content = torch.from_numpy(loaded.content.pixels)
    image = colors.finished(image, content, loaded.planned.job.params.preserve_color)
    return images.Picture(image.numpy(), loaded.content.alpha)
