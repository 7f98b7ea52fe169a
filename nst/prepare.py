"""Manifest -> plan: every input and every backbone's weights looked at, nothing optimised."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from nst import images, manifest, output, records, storage, weights
from nst.access import Access, is_inside
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
from nst.files import Listed
from nst.job import Job, job_key, style_edge_px
from nst.manifest import Parsed, Refusal
from nst.metadata import MAX_ATTEMPTS, Outcome
from nst.output import failure
from nst.plan import Input, Plan, PlannedJob, make_groups
from nst.profiles import PROFILES
from nst.records import Ledger
from nst.redaction import redacted
from nst.rows import MAX_BYTES
from nst.settings import RunSettings
from nst.weights import WeightsFile

# A pixel lost to rounding on a small picture is not another shape.
_MAX_ASPECT_ERROR = 0.03

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The jobs of a manifest, one for each of its rows, and the sha256 of its bytes.

    `refused` says of some, by their ids, why they are not to be run.
    """

    jobs: tuple[Job, ...]
    refused: Mapping[str, Refusal]
    digest: str


def make_plan(
    manifest_uri: str,
    settings: RunSettings,
    overrides: Mapping[str, Any] | None = None,
    *,
    download: bool = True,
    resume: bool = True,
) -> Plan:
    """`plan_rows` of `read_manifest`."""
    rows = read_manifest(manifest_uri, settings, overrides)
    return plan_rows(rows, settings, download=download, resume=resume)


def read_manifest(
    uri: str, settings: RunSettings, overrides: Mapping[str, Any] | None = None
) -> Rows:
    """The rows of a manifest, read once.

    Raises ManifestError where they cannot be used, and ConfigError for a URL of a scheme that is not
    allowed and for an output among the inputs.
    """
    check_urls(uri, settings)
    data = _read_manifest(uri)
    parsed = _parse_manifest(uri, data, settings, overrides)
    _check_output((job for job in parsed.jobs if job.id not in parsed.refused), settings.output)
    if not parsed.jobs:
        _log.warning("%s has no rows", uri)
    return Rows(jobs=parsed.jobs, refused=parsed.refused, digest=hashlib.sha256(data).hexdigest())


def plan_rows(
    rows: Rows, settings: RunSettings, *, download: bool = True, resume: bool = True
) -> Plan:
    """What to run for each row: every input and every backbone's weights looked at.

    Rows whose inputs or weights cannot be had are failed in the plan. Without `download`, weights
    that would have to be downloaded count as such; without `resume` the output is not looked at.
    Raises ConfigError for a weights file of the user's own that is bad, and StorageError where a
    store is out of order.
    """
    unique = list({job.id: job for job in rows.jobs if job.id not in rows.refused}.values())
    inputs = _in_parallel(_look_at, [uri for job in unique for uri in job.inputs])
    chosen = _in_parallel(
        lambda backbone: usable_weights(
            backbone, settings.weights.get(backbone), download=download
        ),
        [job.backbone for job in unique],
    )
    planned: list[PlannedJob] = []
    failed = [_refused(job_id, refusal) for job_id, refusal in rows.refused.items()]
    for job in unique:
        try:
            planned.append(_planned(job, inputs, chosen))
        except NSTError as exc:
            failed.append(_failed(job, exc, inputs))
    done: list[str] = []
    to_make: list[PlannedJob] = []
    ledger = records.read(settings.output) if resume else None
    folder = storage.join(settings.output, output.IMAGES)
    found = storage.list_objects(folder) if ledger is not None and ledger.made else {}
    are_done = storage.in_parallel(lambda one: _is_done(one, ledger, found, settings), planned)
    for one, is_done in zip(planned, are_done, strict=True):
        if ledger is None:
            to_make.append(one)
        elif is_done:
            done.append(one.job.id)
        elif (left := _left_alone(one, ledger, settings)) is not None:
            failed.append(left)
        else:
            to_make.append(_with_history(one, ledger))
    files = {name: file for name, file in chosen.items() if isinstance(file, WeightsFile)}
    return Plan(
        jobs=rows.jobs,
        groups=make_groups(
            to_make,
            weights=files,
            max_batch_pixels=settings.max_batch_pixels,
        ),
        done=tuple(done),
        failed=tuple(failed),
        manifest_digest=rows.digest,
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


def _refused(job_id: str, refusal: Refusal) -> Outcome:
    return replace(failure(job_id, ManifestError(refusal.message)), reason=refusal.reason)


def check_urls(manifest_uri: str, settings: RunSettings) -> None:
    """Raises ConfigError for a URL of the run's own that may not be opened. Roots bind inputs only."""
    access = Access(settings.schemes)
    chosen = {
        f"--weights {backbone}": choice
        for backbone, choice in settings.weights.items()
        if choice != weights.TORCHVISION
    }
    named = {"the manifest": manifest_uri, "--output": settings.output, **chosen}
    for what, uri in named.items():
        expected = access.objection_to_kind(uri)
        if expected:
            raise ConfigError(f"{what}: expected {expected}; found {redacted(uri)!r}")


def _check_output(jobs: Iterable[Job], uri: str) -> None:
    """Raises ConfigError for an output that is a folder of inputs, or holds one.

    A folder of its own beside the inputs is harmless. Among them, a run's files could pass for
    inputs in the next one, a picture of an input's name could overwrite it, and who clears away the
    output would clear away the inputs. Patterns that would reach into the output are refused with
    the manifest.
    """
    inputs = dict.fromkeys(each for job in jobs for each in job.inputs)
    for folder in dict.fromkeys(map(storage.parent, inputs)):
        if is_inside(folder, uri):
            raise ConfigError(
                f"--output: expected a folder without inputs in it, found {uri!r}, in which the "
                f"inputs of {folder!r} are; write to another, such as {storage.join(uri, 'out')!r}"
            )


def _read_manifest(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri, max_bytes=MAX_BYTES)
    except StorageError as exc:
        if ends_the_run(exc):
            raise
        raise ManifestError(f"{exc}; expected a manifest") from exc


def _parse_manifest(
    uri: str, data: bytes, settings: RunSettings, overrides: Mapping[str, Any] | None
) -> Parsed:
    folder = storage.parent(uri)
    name = uri.partition("?")[0] if uri.startswith(("http://", "https://")) else uri
    own = (output.IMAGES, output.INPUTS, output.THUMBS, output.LOCKS, records.FOLDER)
    return manifest.parse(
        name.rpartition("/")[2],
        data,
        resolve=lambda reference: storage.resolve(folder, reference),
        glob=lambda pattern: storage.glob(folder, pattern),
        access=Access(
            settings.schemes,
            settings.roots,
            closed=tuple(storage.join(settings.output, each) for each in own),
        ),
        overrides=overrides,
        keep_going=settings.keep_going,
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
    data = storage.read_bytes(uri, max_bytes=images.MAX_BYTES)
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


def _is_done(
    planned: PlannedJob,
    ledger: Ledger | None,
    pictures: Mapping[str, Listed],
    settings: RunSettings,
) -> bool:
    """Whether the output holds this very picture, undamaged.

    The last record of an id is of the picture that lies under its name, which a run with other
    parameters may have written over the one that is asked for. A picture is read only where the
    store tells of it what it did not tell when it was written: changed since, or moved with all of
    the output.
    """
    made = ledger.made.get(planned.job.id) if ledger is not None else None
    path = output.picture_path(planned.job, settings)
    if made is None or made.key != planned.key or made.picture != path:
        return False
    found = pictures.get(path.rpartition("/")[2])
    if found is None or found.size != made.picture_bytes:
        return False
    if found.version and found.version == made.picture_version:
        return True
    try:
        data = storage.read_bytes(storage.join(settings.output, path))
    except StorageError as exc:
        if ends_the_run(exc):
            raise
        return False
    return hashlib.sha256(data).hexdigest() == made.picture_digest


def _left_alone(planned: PlannedJob, ledger: Ledger, settings: RunSettings) -> Outcome | None:
    """The failure of an earlier run, where this one is not to try again."""
    found = ledger.last_failure(planned.job.id)
    # One without a key failed before there was any.
    if found is None or found.key not in (None, planned.key):
        return None
    is_quarantined = (found.attempts or 0) >= MAX_ATTEMPTS and not settings.retry_quarantined
    return found if settings.skip_failed or is_quarantined else None


def _with_history(planned: PlannedJob, ledger: Ledger) -> PlannedJob:
    """The job with what earlier runs had with this very picture."""
    made = ledger.made.get(planned.job.id)
    if made is not None and made.key == planned.key:
        planned = replace(planned, outdated=made.finished_at)
    failed = ledger.last_failure(planned.job.id)
    if failed is None or failed.key != planned.key:
        return planned
    # Only one that is to be tried again comes here with as many as would keep it from that.
    return replace(planned, attempts=min(failed.attempts or 0, MAX_ATTEMPTS - 1))
