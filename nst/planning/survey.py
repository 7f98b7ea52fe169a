"""Collects what a plan needs about jobs' inputs and weights, and reads no more than that."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nst.errors import ConfigError, ImageError, NSTError, ends_the_run
from nst.iterables import in_parallel
from nst.job import (
    Job,
    PictureParams,
    inputs_key,
    job_key,
    long_edge_px,
    params_as_json,
    recipe,
    size_text,
)
from nst.output import Outcome, failure
from nst.painting import WeightsFile
from nst.pictures import images
from nst.planning import inputs
from nst.planning.plan import Input, PlannedJob, style_digest, style_size
from nst.profiles import PROFILES
from nst.storage import listings

# A pixel lost to rounding on a small picture is not another shape.
_MAX_ASPECT_ERROR = 0.03


# Of what jobs may have in common, so much is remembered.
_MAX_REMEMBERED = 20_000


# What is known of a job before any of its inputs is read: that it is done; that it is to be made, for
# which the first bytes of its inputs are enough; that only their digests tell; that it cannot be; that
# its picture is there in another format, from which it can be encoded.
DONE, TO_MAKE, DOUBTFUL, HOPELESS, TO_ENCODE = range(5)


@dataclass(frozen=True, slots=True)
class Sketch:
    """What is known about a job from the versions of its inputs alone.

    `inputs_key` is None if an input has no version, and `recipe` is None if the weights are missing.
    """

    recipe: str | None
    inputs_key: str | None

    @property
    def is_unversioned(self) -> bool:
        return self.recipe is not None and self.inputs_key is None


class Survey:
    """What was found about jobs' inputs and weights; a value that jobs share is one object."""

    def __init__(self, jobs: Sequence[Job], chosen: Mapping[str, WeightsFile | NSTError]) -> None:
        self._versions = listings.versions(uri for job in jobs for uri in job.inputs)
        self._chosen = chosen
        self._inputs: dict[str, Input | NSTError] = {}
        self._digests: dict[str, str] = {}
        self._transparent: dict[str, images.Transparency] = {}
        self._styles: dict[tuple[str, ...], tuple[Input, ...]] = {}
        # By which object they are, as 0.0 and -0.0 are equal and not the same; which is held too,
        # so that no other can take its place.
        self._params: dict[int, tuple[PictureParams, str]] = {}
        self._recipes: dict[tuple[int, str], tuple[PictureParams, str]] = {}

    def sketch(self, job: Job) -> Sketch:
        """What is known about the job from the current versions."""
        file = self._chosen[job.backbone]
        if isinstance(file, NSTError):
            return Sketch(None, None)
        how = self._recipe(job, file)
        return Sketch(how, inputs_key(job, how, self._versions))

    def look_at(self, jobs: Sequence[Job], verdicts: NDArray[np.int8]) -> None:
        """Read as much of the jobs' inputs as their verdicts need, each input once."""
        doubtful = _inputs_of(jobs, verdicts == DOUBTFUL)
        others = (each for each in _inputs_of(jobs, verdicts == TO_MAKE) if each not in doubtful)
        self._keep(attempts(inputs.look_at, doubtful))
        self._keep(attempts(inputs.look_at_start, others))

    def planned(self, job: Job, *, with_key: bool) -> PlannedJob:
        """The planned job; it has its key if that is asked for, or if there is no `inputs_key`.

        Raises the error of its weights or inputs.
        """
        file = _or_raise(self._chosen[job.backbone])
        content = self._input(job.content)
        styles = self._styles.get(job.styles)
        if styles is None:
            styles = tuple(map(self._input, job.styles))
            _remember(self._styles, job.styles, styles)
        mask = self._input(job.mask) if job.mask is not None else None
        start = self._input(job.start) if job.start is not None else None
        style_masks = tuple(None if uri is None else self._input(uri) for uri in job.style_masks)
        long_edge = long_edge_px(job.params, content.height, content.width)
        height, width = images.fitted_size(content.height, content.width, long_edge)
        _check_side(job, job.content, (height, width))
        for style in styles:
            fitted = style_size(style, job.params, long_edge)
            is_small = min(style.height, style.width) < _least_side_px(job)
            advice = "a larger picture" if is_small else "a larger size or style_scale"
            _check_side(job, style.uri, fitted, advice)
        for other in (mask, start):
            if other is not None:
                _check_shape(content, other)
        for style, style_mask in zip(styles, style_masks, strict=False):
            if style_mask is not None:
                _check_shape(style, style_mask, "style")
        planned = PlannedJob(
            job=job,
            key=None,
            content=content,
            styles=styles,
            mask=mask,
            start=start,
            style_masks=style_masks,
            height=height,
            width=width,
        )
        return self._with_keys(planned, file, with_key=with_key)

    def failed(self, job: Job, error: NSTError) -> Outcome:
        """The outcome of a job that cannot run, with what is known about its inputs."""
        content, *styles = (self._inputs.get(uri) for uri in (job.content, *job.styles))
        return replace(
            failure(job.id, error),
            content_digest=content.digest if isinstance(content, Input) else None,
            style_digest=style_digest(style for style in styles if isinstance(style, Input)),
        )

    def _with_keys(self, planned: PlannedJob, file: WeightsFile, *, with_key: bool) -> PlannedJob:
        job = planned.job
        versions = {each.uri: each.version for each in planned.inputs if each.version is not None}
        told = inputs_key(job, self._recipe(job, file), versions)
        if told is not None and not with_key:
            # Of a million jobs another digest would be in memory to no end.
            return replace(planned, inputs_key=told)
        if all(each.digest is not None for each in planned.inputs):
            key = job_key(
                job,
                digests=self._digests,
                transparent=self._transparent,
                weights_digest=file.digest,
                topology=file.topology,
                params=self._params_as_json(job.params),
            )
            return replace(planned, key=key, inputs_key=told)
        # One was written since its version was asked for, and the others were read by their starts.
        new = [each.uri for each in planned.inputs if each.digest is None]
        self._keep(attempts(inputs.look_at, new))
        self._styles.pop(job.styles, None)
        return self.planned(job, with_key=with_key)

    def _keep(self, found: Mapping[str, Input | NSTError]) -> None:
        self._inputs |= found
        for uri, each in found.items():
            if isinstance(each, Input) and each.digest is not None:
                self._digests[uri] = each.digest
                if each.transparency != "none":
                    self._transparent[uri] = each.transparency
                else:
                    self._transparent.pop(uri, None)

    def _input(self, uri: str) -> Input:
        return _or_raise(self._inputs[uri])

    def _recipe(self, job: Job, file: WeightsFile) -> str:
        known = self._recipes.get((id(job.params), job.backbone))
        if known is None:
            params = self._params_as_json(job.params)
            how = recipe(job, file.digest, file.topology, params)
            known = (job.params, how)
            _remember(self._recipes, (id(job.params), job.backbone), known)
        return known[1]

    def _params_as_json(self, params: PictureParams) -> str:
        known = self._params.get(id(params))
        if known is None:
            known = (params, params_as_json(params))
            _remember(self._params, id(params), known)
        return known[1]


_T = TypeVar("_T")


def attempts(function: Callable[[str], _T], names: Iterable[str]) -> dict[str, _T | NSTError]:
    """`function` of each distinct name, or the error that it raised; in parallel.

    Errors that concern the whole run, such as a store that fails or bad settings, are raised: they
    say nothing about the name.
    """

    def attempt(name: str) -> _T | NSTError:
        try:
            return function(name)
        except NSTError as exc:
            if ends_the_run(exc) or isinstance(exc, ConfigError):
                raise
            return exc

    distinct = list(dict.fromkeys(names))
    return dict(zip(distinct, in_parallel(attempt, distinct), strict=True))


_K = TypeVar("_K")


def _inputs_of(jobs: Sequence[Job], is_meant: NDArray[np.bool_]) -> dict[str, None]:
    """The distinct inputs of some jobs, in the order of the manifest."""
    numbers = np.nonzero(is_meant)[0].tolist()
    return dict.fromkeys(uri for number in numbers for uri in jobs[number].inputs)


def _remember(known: dict[_K, _T], key: _K, value: _T) -> None:
    """Cache the value; a full cache is emptied, so that manifests without repetition stay bounded."""
    if len(known) >= _MAX_REMEMBERED:
        known.clear()
    known[key] = value


def _least_side_px(job: Job) -> int:
    return _min_side_px(job.backbone, job.params.content_layers, job.params.style_layers)


def _check_side(job: Job, uri: str, size: tuple[int, int], advice: str = "a larger size") -> None:
    """Raises ImageError if a deep layer would have fewer than 2 x 2 positions for a picture."""
    least = _least_side_px(job)
    height, width = size
    if min(height, width) < least:
        raise ImageError(
            f"{uri}: expected a short side of at least {least} px for the layers of "
            f"{job.backbone}, found {height} x {width} (height x width) at size "
            f"{size_text(job.params.size)}; use {advice}, or a picture that is less elongated",
            reason="image_too_small",
        )


@lru_cache(maxsize=_MAX_REMEMBERED)
def _min_side_px(
    backbone: str, content_layers: tuple[str, ...] | None, style_layers: tuple[str, ...] | None
) -> int:
    profile = PROFILES[backbone]
    return profile.min_side_px(profile.shares(content_layers, style_layers).layers)


def _check_shape(owner: Input, other: Input, role: str = "content") -> None:
    """Raises ImageError if a mask or a start has another aspect ratio than its content or style."""
    aspect, wanted = other.width / other.height, owner.width / owner.height
    if abs(aspect / wanted - 1) > _MAX_ASPECT_ERROR:
        # Of a picture that its Exif turns upright, other programs may see the sides the other way.
        lies = abs(1 / aspect / wanted - 1) <= _MAX_ASPECT_ERROR
        fix = "turn it by 90 degrees" if lies else f"crop it, or make it anew over {owner.uri}"
        raise ImageError(
            f"{other.uri}: expected the shape of its {role}, {owner.height} x {owner.width} "
            f"(height x width) or another size of it, found {other.height} x {other.width}; {fix}",
            reason="image_mismatched",
        )


def _or_raise(found: _T | NSTError) -> _T:
    if isinstance(found, NSTError):
        # Each time that it is raised it would otherwise hold on to one more frame.
        raise found.with_traceback(None)
    return found
