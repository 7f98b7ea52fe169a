"""Manifest -> plan: every input and every backbone's weights looked at, nothing optimised."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from nst import images, manifest, output, storage, weights
from nst.errors import (
    AccessError,
    ConfigError,
    ImageError,
    ManifestError,
    NSTError,
    StorageError,
    WeightsError,
    ends_the_run,
)
from nst.job import Job, job_key, style_edge_px
from nst.metadata import Outcome
from nst.output import failure
from nst.plan import Input, Plan, PlannedJob, make_groups
from nst.profiles import PROFILES
from nst.settings import RunSettings
from nst.weights import WeightsFile

# A pixel lost to rounding on a small picture is not another shape.
_MAX_ASPECT_ERROR = 0.03

_log = logging.getLogger(__name__)


def make_plan(
    manifest_uri: str,
    settings: RunSettings,
    overrides: Mapping[str, Any] | None = None,
    *,
    download: bool = True,
    resume: bool = True,
) -> Plan:
    """What to run for each row of the manifest: every input looked at, nothing optimised.

    Rows whose inputs or weights cannot be had are failed in the plan. Without `download`, weights
    that would have to be downloaded count as such; without `resume` the output is not looked at.
    Raises ManifestError for a bad manifest, ConfigError for a weights file of the user's own that
    is bad, and StorageError where a store does not answer.
    """
    jobs = _read_manifest(manifest_uri, overrides)
    if not jobs:
        _log.warning("%s has no rows", manifest_uri)
    unique = list({job.id: job for job in jobs}.values())
    inputs = _in_parallel(_look_at, [uri for job in unique for uri in job.inputs])
    chosen = _in_parallel(
        lambda backbone: usable_weights(
            backbone, settings.weights.get(backbone), download=download
        ),
        [job.backbone for job in unique],
    )
    planned: list[PlannedJob] = []
    failed: list[Outcome] = []
    for job in unique:
        try:
            planned.append(_planned(job, inputs, chosen))
        except NSTError as exc:
            failed.append(_failed(job, exc, inputs))
    done = _done(planned, settings) if resume else {}
    files = {name: file for name, file in chosen.items() if isinstance(file, WeightsFile)}
    return Plan(
        jobs=jobs,
        groups=make_groups(
            (one for one in planned if one.job.id not in done),
            weights=files,
            max_batch_pixels=settings.max_batch_pixels,
        ),
        done=tuple(done.values()),
        failed=tuple(failed),
    )


def usable_weights(backbone: str, choice: str | None, *, download: bool) -> WeightsFile:
    """The weights of `backbone`, known to fit it; see `weights.obtain`.

    The embedded ones need no look; others have every layer's keys, shapes and values checked, so
    that no row finds out halfway through a run.
    Raises ConfigError for a file of the user's own that is not to be had or does not fit: it was
    asked for by name. Raises WeightsError for others.
    """
    try:
        file = weights.obtain(backbone, choice, download=download)
        if file.origin != "embedded":
            from nst.backbones import check_state

            check_state(backbone, weights.load_state(file))
    except (WeightsError, AccessError) as exc:
        if choice is None or choice == weights.TORCHVISION:
            raise
        raise ConfigError(f"--weights: {exc}") from exc
    return file


def _failed(job: Job, error: NSTError, inputs: Mapping[str, Input | NSTError]) -> Outcome:
    """The outcome of a job that cannot run, with what is known of its inputs all the same."""
    content = inputs[job.content]
    styles = [found for uri in job.styles if isinstance(found := inputs[uri], Input)]
    return replace(
        failure(job.id, error),
        content_digest=content.digest if isinstance(content, Input) else None,
        style_digest=" ".join(style.digest for style in styles) or None,
    )


def _read_manifest(uri: str, overrides: Mapping[str, Any] | None) -> tuple[Job, ...]:
    folder = storage.parent(uri)
    try:
        data = storage.read_bytes(uri)
    except StorageError as exc:
        if ends_the_run(exc):
            raise
        raise ManifestError(f"{exc}; expected a manifest") from exc
    name = uri.partition("?")[0] if uri.startswith(("http://", "https://")) else uri
    return manifest.parse(
        name.rpartition("/")[2],
        data,
        resolve=lambda reference: storage.resolve(folder, reference),
        glob=lambda pattern: storage.glob(folder, pattern),
        overrides=overrides,
    )


_T = TypeVar("_T")


def _in_parallel(function: Callable[[str], _T], names: Iterable[str]) -> dict[str, _T | NSTError]:
    """`function` of each distinct name, or the error it raised: stores answer many at once.

    An error that may pass is raised: it says nothing of the name that it was met at. So is one of
    what the whole run was asked to do.
    """

    def attempt(name: str) -> _T | NSTError:
        try:
            return function(name)
        except NSTError as exc:
            if ends_the_run(exc) or isinstance(exc, ConfigError):
                raise
            return exc

    distinct = list(dict.fromkeys(names))
    return dict(zip(distinct, storage.in_parallel(attempt, distinct), strict=True))


def _look_at(uri: str) -> Input:
    data = storage.read_bytes(uri)
    height, width = images.probe_size(data, name=uri)
    return Input(uri=uri, digest=hashlib.sha256(data).hexdigest(), height=height, width=width)


def _planned(
    job: Job,
    inputs: Mapping[str, Input | NSTError],
    chosen: Mapping[str, WeightsFile | NSTError],
) -> PlannedJob:
    """The job with what was found of it. Raises what was found wrong."""
    found = {uri: _or_raise(inputs[uri]) for uri in job.inputs}
    file = _or_raise(chosen[job.backbone])
    content = found[job.content]
    styles = tuple(found[uri] for uri in job.styles)
    height, width = images.fitted_size(content.height, content.width, job.params.size)
    _check_side(job, job.content, (height, width))
    for style in styles:
        edge = min(style_edge_px(job.params), max(style.height, style.width))
        _check_side(job, style.uri, images.fitted_size(style.height, style.width, edge))
    for uri in (job.mask, job.start):
        if uri is not None:
            _check_shape(content, found[uri])
    return PlannedJob(
        job=job,
        key=job_key(
            job,
            digests={uri: each.digest for uri, each in found.items()},
            weights_digest=file.digest,
        ),
        content=content,
        styles=styles,
        mask=found[job.mask] if job.mask else None,
        start=found[job.start] if job.start else None,
        height=height,
        width=width,
    )


def _check_side(job: Job, uri: str, size: tuple[int, int]) -> None:
    """Raises ImageError where a deep layer would see less than 2 x 2 positions of a picture."""
    profile = PROFILES[job.backbone]
    shares = profile.shares(job.params.content_layers, job.params.style_layers)
    least = profile.min_side_px(shares.layers)
    height, width = size
    if min(height, width) < least:
        raise ImageError(
            f"{uri}: expected a short side of at least {least} px for the layers of "
            f"{job.backbone}, found {height} x {width} (height x width) at size "
            f"{job.params.size}; use a larger size, or a picture less long and thin",
            reason="image_too_small",
        )


def _check_shape(content: Input, other: Input) -> None:
    """Raises ImageError where a mask or a start lies over another part of the content than meant."""
    aspect, wanted = other.width / other.height, content.width / content.height
    if abs(aspect / wanted - 1) > _MAX_ASPECT_ERROR:
        raise ImageError(
            f"{other.uri}: expected the shape of its content, {content.height} x {content.width} "
            f"(height x width) or another size of it, found {other.height} x {other.width}"
        )


def _or_raise(found: _T | NSTError) -> _T:
    if isinstance(found, NSTError):
        raise found
    return found


def _done(planned: Iterable[PlannedJob], settings: RunSettings) -> dict[str, Outcome]:
    """The outcomes, by id, of the jobs whose very picture the output holds.

    The last record of an id is of the picture that lies under its name, which a run with other
    parameters may have written over the one that is asked for.
    """
    latest = output.latest_made(settings.output)
    sizes = storage.list_sizes(storage.join(settings.output, output.IMAGES)) if latest else {}
    return {
        one.job.id: outcome
        for one in planned
        if (outcome := latest.get(one.job.id)) is not None
        and outcome.key == one.key
        and outcome.picture == output.picture_path(one.job, settings)
        and outcome.picture_bytes == sizes.get(outcome.picture.rpartition("/")[2])
    }
