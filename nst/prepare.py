"""Manifest -> plan: every input and every backbone's weights looked at, nothing optimised."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from nst import images, manifest, output, storage, weights
from nst.errors import ImageError, ManifestError, NSTError, StorageError
from nst.job import Job, job_key
from nst.metadata import Outcome
from nst.output import failure
from nst.plan import Input, Plan, PlannedJob, make_groups
from nst.profiles import PROFILES
from nst.settings import RunSettings
from nst.weights import WeightsFile

_NUM_READERS = 16


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
    Raises ManifestError for a bad manifest.
    """
    jobs = _read_manifest(manifest_uri, overrides)
    unique = list({job.id: job for job in jobs}.values())
    inputs = _in_parallel(_look_at, [job.content for job in unique] + [job.style for job in unique])
    chosen = _in_parallel(
        lambda backbone: weights.obtain(
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
            failed.append(failure(job.id, exc))
    done = _done(planned, settings) if resume else {}
    files = {name: file for name, file in chosen.items() if isinstance(file, WeightsFile)}
    return Plan(
        manifest=manifest_uri,
        jobs=jobs,
        groups=make_groups(
            (one for one in planned if one.job.id not in done),
            weights=files,
            max_batch_pixels=settings.max_batch_pixels,
        ),
        done=tuple(done.values()),
        failed=tuple(failed),
    )


def _read_manifest(uri: str, overrides: Mapping[str, Any] | None) -> tuple[Job, ...]:
    folder = storage.parent(uri)
    try:
        data = storage.read_bytes(uri)
    except StorageError as exc:
        raise ManifestError(f"{exc}; expected a manifest") from exc
    return manifest.parse(
        uri.rpartition("/")[2],
        data,
        resolve=lambda reference: storage.resolve(folder, reference),
        glob=lambda pattern: storage.glob(folder, pattern),
        overrides=overrides,
    )


_T = TypeVar("_T")


def _in_parallel(function: Callable[[str], _T], names: Iterable[str]) -> dict[str, _T | NSTError]:
    """`function` of each distinct name, or the error it raised: stores answer many at once."""

    def attempt(name: str) -> _T | NSTError:
        try:
            return function(name)
        except NSTError as exc:
            return exc

    distinct = list(dict.fromkeys(names))
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        return dict(zip(distinct, pool.map(attempt, distinct), strict=True))


def _look_at(uri: str) -> Input:
    data = storage.read_bytes(uri)
    try:
        height, width = images.probe_size(data)
    except ImageError as exc:
        raise exc.at(uri) from exc
    return Input(uri=uri, digest=hashlib.sha256(data).hexdigest(), height=height, width=width)


def _planned(
    job: Job,
    inputs: Mapping[str, Input | NSTError],
    chosen: Mapping[str, WeightsFile | NSTError],
) -> PlannedJob:
    """The job with what was found of it. Raises what was found wrong."""
    content = _or_raise(inputs[job.content])
    style = _or_raise(inputs[job.style])
    file = _or_raise(chosen[job.backbone])
    height, width = images.fitted_size(content.height, content.width, job.params.size)
    style_size = images.fitted_size(
        style.height, style.width, min(job.params.size, max(style.height, style.width))
    )
    _check_sides(job, (height, width), style_size)
    return PlannedJob(
        job=job,
        key=job_key(
            job,
            content_digest=content.digest,
            style_digest=style.digest,
            weights_digest=file.digest,
        ),
        content=content,
        style=style,
        height=height,
        width=width,
    )


def _check_sides(job: Job, content: tuple[int, int], style: tuple[int, int]) -> None:
    """Raises ImageError where a deep layer would see less than 2 x 2 positions of a picture."""
    profile = PROFILES[job.backbone]
    layers = {
        *(job.params.content_layers or profile.content_shares),
        *(job.params.style_layers or profile.style_shares),
    }
    least = profile.min_side_px(tuple(layers))
    for uri, (height, width) in ((job.content, content), (job.style, style)):
        if min(height, width) < least:
            raise ImageError(
                f"{uri}: expected a short side of at least {least} px for the layers of "
                f"{job.backbone}, found {height} x {width} (height x width) at size "
                f"{job.params.size}; use a larger size, or a picture less long and thin",
                reason="image_too_small",
            )


def _or_raise(found: _T | NSTError) -> _T:
    if isinstance(found, NSTError):
        raise found
    return found


def _done(planned: Iterable[PlannedJob], settings: RunSettings) -> dict[str, Outcome]:
    """The outcomes, by id, of the jobs whose picture the output has under the same key."""
    outcomes = output.read_outcomes(settings.output)
    made = (
        storage.list_names(storage.join(settings.output, output.IMAGES))
        if outcomes
        else frozenset()
    )
    return {
        one.job.id: outcome
        for one in planned
        if (outcome := outcomes.get((one.job.id, one.key))) is not None
        and outcome.status == "ok"
        and outcome.picture == output.picture_path(one.job, settings)
        and outcome.picture.rpartition("/")[2] in made
    }
