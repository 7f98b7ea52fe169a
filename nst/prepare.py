"""Manifest -> plan: what is done by the versions of inputs, the others looked at, nothing optimised."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nst import images, inputs, listings, manifest, output, records, storage, weights
from nst.access import Access, is_inside, is_pattern
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
from nst.job import (
    Job,
    PictureParams,
    inputs_key,
    is_other_recipe,
    job_key,
    params_as_json,
    recipe,
    style_edge_px,
)
from nst.manifest import Earlier, Parsed, Refusal
from nst.metadata import MAX_ATTEMPTS, Outcome
from nst.output import failure
from nst.plan import Input, Plan, PlannedJob, make_groups, style_digest
from nst.profiles import PROFILES
from nst.records import Brief, Shelf
from nst.redaction import redacted
from nst.rows import MAX_BYTES, MAX_ROWS, SUFFIXES
from nst.settings import RunSettings
from nst.tables import in_chunks
from nst.weights import WeightsFile

# A pixel lost to rounding on a small picture is not another shape.
_MAX_ASPECT_ERROR = 0.03
# Of a manifest of several files so many are in memory at a time.
_FILES_AT_ONCE = 16

# Of what jobs may have in common, so much is remembered.
_MAX_REMEMBERED = 20_000
# What is done with many of them at once is done with so many.
_JOBS_AT_ONCE = 10_000
_ENTRIES_AT_ONCE = 50_000

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
    """The rows of a manifest, read once; of a folder or a pattern, those of all its files in order.

    Raises ManifestError where they cannot be used, and ConfigError for a URL of a scheme that is not
    allowed and for an output among the inputs.
    """
    check_urls(uri, settings)
    files = _files_of(uri, settings.output)
    jobs: list[Job] = []
    refused: dict[str, Refusal] = {}
    errors: list[str] = []
    digests: list[str] = []
    earlier = Earlier() if files != {uri: uri} else None
    for start in range(0, len(files), _FILES_AT_ONCE):
        some = list(files)[start : start + _FILES_AT_ONCE]
        for file, data in zip(some, storage.in_parallel(_read_manifest, some), strict=True):
            digests.append(hashlib.sha256(data).hexdigest())
            try:
                parsed = _parse_manifest(file, data, settings, overrides, files[file], earlier)
            except ManifestError as exc:
                errors.append(str(exc))
                continue
            jobs += parsed.jobs
            refused |= parsed.refused
    if errors:
        raise ManifestError("\n".join(errors))
    if len(jobs) > MAX_ROWS:
        raise ManifestError(
            f"{redacted(uri)}: expected at most {MAX_ROWS} rows in all files, found {len(jobs)}; "
            "make several runs of them"
        )
    _check_output((job for job in jobs if job.id not in refused), settings.output)
    if not jobs:
        _log.warning("%s has no rows", uri)
    return Rows(jobs=tuple(jobs), refused=refused, digest=_digest_of(list(files), digests))


def _files_of(uri: str, output_uri: str) -> dict[str, str]:
    """The files that a manifest's URL stands for, and what messages call them.

    That is itself, or those right in a folder that are manifests by their suffix, or those that a
    pattern matches; never those of the output, whose metadata is a table too.
    """
    if uri.startswith(("http://", "https://")) or not (uri.endswith("/") or is_pattern(uri)):
        return {uri: uri}
    if uri.endswith("/"):
        found = [
            storage.join(uri, name)
            for name in sorted(storage.list_sizes(uri))
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    else:
        found = storage.glob(storage.parent(uri), uri)
        if found == [uri]:
            return {uri: uri}
    found = [file for file in found if not is_inside(file, output_uri)]
    if not found:
        raise ManifestError(
            f"{redacted(uri)}: expected files that end in {', '.join(SUFFIXES)}, found none"
        )
    names = [file.rpartition("/")[2] for file in found]
    return dict(zip(found, names if len(set(names)) == len(names) else found, strict=True))


def _digest_of(files: Sequence[str], digests: Sequence[str]) -> str:
    """The sha256 of a file's bytes; of several, that of their names with theirs."""
    if len(files) == 1:
        return digests[0]
    lines = (f"{digest} {file}\n" for file, digest in zip(files, digests, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def plan_rows(
    rows: Rows, settings: RunSettings, *, download: bool = True, resume: bool = True
) -> Plan:
    """What to run for each row: every backbone's weights looked at, and the inputs as `nst.inputs` says.

    Rows whose inputs or weights cannot be had are failed in the plan, those of what is done included
    where an input is gone; what is wrong with an input behind its first bytes is found out when it is
    loaded. Without `download`, weights
    that would have to be downloaded count as such; without `resume` the output is not looked at.
    Raises ConfigError for a weights file of the user's own that is bad, and StorageError where a
    store is out of order.
    """
    unique = list({job.id: job for job in rows.jobs if job.id not in rows.refused}.values())
    layers = layers_of(unique)
    chosen = _in_parallel(
        lambda backbone: usable_weights(
            backbone, settings.weights.get(backbone), layers[backbone], download=download
        ),
        layers,
    )
    impossible = [_refused(job_id, refusal) for job_id, refusal in rows.refused.items()]
    # What is known of earlier runs is let go of before groups are made.
    sorted_out = _sorted_out(unique, chosen, settings, resume=resume)
    files = {name: file for name, file in chosen.items() if isinstance(file, WeightsFile)}
    return Plan(
        jobs=rows.jobs,
        groups=make_groups(
            sorted_out.to_make,
            weights=files,
            max_batch_pixels=settings.max_batch_pixels,
        ),
        done=tuple(sorted_out.done),
        failed=(*impossible, *sorted_out.impossible, *sorted_out.left_alone),
        manifest_digest=rows.digest,
        learned=sorted_out.learned,
    )


@dataclass(frozen=True, slots=True)
class _SortedOut:
    """What is to become of jobs, each in one of these; and what the records of some learn."""

    done: list[str] = field(default_factory=list)
    learned: dict[str, str] = field(default_factory=dict)
    impossible: list[Outcome] = field(default_factory=list)
    left_alone: list[Outcome] = field(default_factory=list)
    to_make: list[PlannedJob] = field(default_factory=list)


def _sorted_out(
    jobs: Sequence[Job],
    chosen: Mapping[str, WeightsFile | NSTError],
    settings: RunSettings,
    *,
    resume: bool,
) -> _SortedOut:
    result = _SortedOut()
    planner = _Planner(jobs, chosen)
    before = _Before(jobs, settings) if resume else None
    verdicts = _verdicts(jobs, planner, before)
    undecided = np.nonzero(verdicts != _DONE)[0]
    planner.look_at(jobs, verdicts)
    for some in in_chunks(undecided.tolist(), _JOBS_AT_ONCE):
        planned: dict[int, PlannedJob] = {}
        for number in some:
            try:
                is_doubtful = bool(verdicts[number] == _DOUBTFUL)
                planned[number] = planner.planned(jobs[number], with_key=is_doubtful)
            except NSTError as exc:
                result.impossible.append(planner.failed(jobs[number], exc))
        if before is None:
            result.to_make.extend(planned.values())
            continue
        known = before.look_up(list(planned), list(planned.values()))
        for (number, one), found in zip(planned.items(), known, strict=True):
            if found.is_done:
                verdicts[number] = _DONE
                if one.inputs_key is not None:
                    result.learned[one.job.id] = one.inputs_key
            elif (left := before.left_alone(one, found)) is not None:
                result.left_alone.append(left)
            else:
                result.to_make.append(_with_history(one, found))
    result.done.extend(jobs[number].id for number in np.nonzero(verdicts == _DONE)[0].tolist())
    if before is not None and before.num_of_another_precision:
        _log.warning(
            "%s: %d finished pictures stay as they are, which were not made in %s as the others; "
            "--replace makes them anew",
            settings.output,
            before.num_of_another_precision,
            settings.precision,
        )
    return result


# What is known of a job before any of its inputs is read: that it is done; that it is to be made, for
# which the first bytes of its inputs are enough; that only their digests tell; that it cannot be.
_DONE, _TO_MAKE, _DOUBTFUL, _HOPELESS = range(4)


def _verdicts(
    jobs: Sequence[Job], planner: "_Planner", before: "_Before | None"
) -> NDArray[np.int8]:
    found = np.full(len(jobs), _TO_MAKE, np.int8)
    for start in range(0, len(jobs), _JOBS_AT_ONCE):
        some = range(start, min(start + _JOBS_AT_ONCE, len(jobs)))
        sketches = [planner.sketch(jobs[number]) for number in some]
        if before is not None:
            found[start : some.stop] = before.verdicts(some, jobs, sketches)
        # All of a row's inputs, or none: see `nst.inputs`.
        without = [
            number for number, each in zip(some, sketches, strict=True) if each.is_unversioned
        ]
        found[without] = _DOUBTFUL
    return found


def layers_of(jobs: Iterable[Job]) -> dict[str, tuple[str, ...]]:
    """The layers that jobs look at, by their backbone, shallow to deep."""
    kinds = dict.fromkeys(
        (job.backbone, job.params.content_layers, job.params.style_layers) for job in jobs
    )
    used: dict[str, set[str]] = {}
    for backbone, content, style in kinds:
        found = PROFILES[backbone].shares(content, style).layers
        used.setdefault(backbone, set()).update(found)
    return {
        name: tuple(layer for layer in PROFILES[name].layers if layer in some)
        for name, some in used.items()
    }


def usable_weights(
    backbone: str, choice: str | None, layers: Sequence[str] = (), *, download: bool
) -> WeightsFile:
    """The weights of `backbone`, known to fit it; see `weights.obtain`.

    The embedded ones need no look; others have keys, shapes and values checked down to the deepest
    of `layers`, those of the profile if none are named, and their topology as far as it can be told,
    so that no row finds out halfway through a run.
    Raises ConfigError for a file of the user's own that is not to be had or does not fit: it was
    asked for by name. Raises WeightsError for others.
    """
    try:
        file = weights.obtain(backbone, choice, download=download)
        if file.origin != "embedded":
            from nst.backbones import loaded_stages
            from nst.topology import check_topology

            state = weights.load_state(file)
            loaded_stages(backbone, state, layers or PROFILES[backbone].shares(None, None).layers)
            check_topology(file, state)
    except (WeightsError, AccessError) as exc:
        if choice is None or choice == weights.TORCHVISION:
            raise
        raise ConfigError(f"--weights: {exc}") from exc
    return file


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
        raise ManifestError(
            f"{exc}; expected a manifest, or a folder of some with a slash at its end"
        ) from exc


def _parse_manifest(
    uri: str,
    data: bytes,
    settings: RunSettings,
    overrides: Mapping[str, Any] | None,
    shown_name: str,
    earlier: Earlier | None,
) -> Parsed:
    folder = storage.parent(uri)
    name = uri.partition("?")[0] if uri.startswith(("http://", "https://")) else uri
    own = (output.IMAGES, output.INPUTS, output.THUMBS, output.LOCKS, records.FOLDER)
    return manifest.parse(
        shown_name if earlier else name.rpartition("/")[2],
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
        after=earlier,
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


@dataclass(frozen=True, slots=True)
class _Sketch:
    """What can be told of a job by the versions of its inputs.

    `inputs_key` is None where one has none, and `recipe` where its weights cannot be had.
    """

    recipe: str | None
    inputs_key: str | None

    @property
    def is_unversioned(self) -> bool:
        return self.recipe is not None and self.inputs_key is None


class _Planner:
    """Jobs with what was found of their inputs and weights; what they share is one object to all."""

    def __init__(self, jobs: Sequence[Job], chosen: Mapping[str, WeightsFile | NSTError]) -> None:
        self._versions = listings.versions(uri for job in jobs for uri in job.inputs)
        self._chosen = chosen
        self._inputs: dict[str, Input | NSTError] = {}
        self._digests: dict[str, str] = {}
        self._styles: dict[tuple[str, ...], tuple[Input, ...]] = {}
        # By which object they are, as 0.0 and -0.0 are equal and not the same; which is held too,
        # so that no other can take its place.
        self._params: dict[int, tuple[PictureParams, str]] = {}
        self._recipes: dict[tuple[int, str], tuple[PictureParams, str]] = {}

    def sketch(self, job: Job) -> _Sketch:
        """The job by the versions that there are now."""
        file = self._chosen[job.backbone]
        if isinstance(file, NSTError):
            return _Sketch(None, None)
        how = self._recipe(job, file)
        return _Sketch(how, inputs_key(job, how, self._versions))

    def look_at(self, jobs: Sequence[Job], verdicts: NDArray[np.int8]) -> None:
        """Read of the inputs of jobs what their verdicts ask for, each of them once."""
        doubtful = _inputs_of(jobs, verdicts == _DOUBTFUL)
        others = (each for each in _inputs_of(jobs, verdicts == _TO_MAKE) if each not in doubtful)
        self._keep(_in_parallel(inputs.look_at, doubtful))
        self._keep(_in_parallel(inputs.look_at_start, others))

    def planned(self, job: Job, *, with_key: bool) -> PlannedJob:
        """The job with what was found of it, and its key where that is asked for or all there is.

        Raises what was found wrong.
        """
        file = _or_raise(self._chosen[job.backbone])
        content = self._input(job.content)
        styles = self._styles.get(job.styles)
        if styles is None:
            styles = tuple(map(self._input, job.styles))
            _remember(self._styles, job.styles, styles)
        mask = self._input(job.mask) if job.mask is not None else None
        start = self._input(job.start) if job.start is not None else None
        height, width = images.fitted_size(content.height, content.width, job.params.size)
        _check_side(job, job.content, (height, width))
        for style in styles:
            edge = min(style_edge_px(job.params), max(style.height, style.width))
            _check_side(job, style.uri, images.fitted_size(style.height, style.width, edge))
        for other in (mask, start):
            if other is not None:
                _check_shape(content, other)
        planned = PlannedJob(
            job=job,
            key=None,
            content=content,
            styles=styles,
            mask=mask,
            start=start,
            height=height,
            width=width,
        )
        return self._with_keys(planned, file, with_key=with_key)

    def failed(self, job: Job, error: NSTError) -> Outcome:
        """The outcome of a job that cannot run, with what is known of its inputs all the same."""
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
                weights_digest=file.digest,
                topology=file.topology,
                params=self._params_as_json(job.params),
            )
            return replace(planned, key=key, inputs_key=told)
        # One was written since its version was asked for, and the others were read by their starts.
        new = [each.uri for each in planned.inputs if each.digest is None]
        self._keep(_in_parallel(inputs.look_at, new))
        self._styles.pop(job.styles, None)
        return self.planned(job, with_key=with_key)

    def _keep(self, found: Mapping[str, Input | NSTError]) -> None:
        self._inputs |= found
        for uri, each in found.items():
            if isinstance(each, Input) and each.digest is not None:
                self._digests[uri] = each.digest

    def _input(self, uri: str) -> Input:
        return _or_raise(self._inputs[uri])

    def _recipe(self, job: Job, file: WeightsFile) -> str:
        known = self._recipes.get((id(job.params), job.backbone))
        if known is None:
            params = self._params_as_json(job.params)
            how = recipe(job.backbone, file.digest, file.topology, params)
            known = (job.params, how)
            _remember(self._recipes, (id(job.params), job.backbone), known)
        return known[1]

    def _params_as_json(self, params: PictureParams) -> str:
        known = self._params.get(id(params))
        if known is None:
            known = (params, params_as_json(params))
            _remember(self._params, id(params), known)
        return known[1]


def _inputs_of(jobs: Sequence[Job], is_meant: NDArray[np.bool_]) -> dict[str, None]:
    """The distinct inputs of some jobs, in the order in which they are named."""
    numbers = np.nonzero(is_meant)[0].tolist()
    return dict.fromkeys(uri for number in numbers for uri in jobs[number].inputs)


_K = TypeVar("_K")


def _remember(known: dict[_K, _T], key: _K, value: _T) -> None:
    """Among as many as it takes for what rows have in common, and not all where they have nothing."""
    if len(known) >= _MAX_REMEMBERED:
        known.clear()
    known[key] = value


def _check_side(job: Job, uri: str, size: tuple[int, int]) -> None:
    """Raises ImageError where a deep layer would see less than 2 x 2 positions of a picture."""
    least = _min_side_px(job.backbone, job.params.content_layers, job.params.style_layers)
    height, width = size
    if min(height, width) < least:
        raise ImageError(
            f"{uri}: expected a short side of at least {least} px for the layers of "
            f"{job.backbone}, found {height} x {width} (height x width) at size "
            f"{job.params.size}; use a larger size, or a picture less long and thin",
            reason="image_too_small",
        )


@lru_cache(maxsize=_MAX_REMEMBERED)
def _min_side_px(
    backbone: str, content_layers: tuple[str, ...] | None, style_layers: tuple[str, ...] | None
) -> int:
    profile = PROFILES[backbone]
    return profile.min_side_px(profile.shares(content_layers, style_layers).layers)


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
        # Each time that it is raised it would otherwise hold on to one more frame.
        raise found.with_traceback(None)
    return found


def _is_same(record: Brief, sketch: _Sketch) -> bool | None:
    """Whether a record is of the very picture that is sketched; None where only digests tell."""
    if record.inputs_key is None:
        # A failure that was met before anything was known of its inputs.
        return None if record.key is not None or record.status == "ok" else True
    if sketch.recipe is None or is_other_recipe(record.inputs_key, sketch.recipe):
        return False
    if sketch.inputs_key == record.inputs_key:
        return True
    # Whatever its inputs were, there are others now.
    return None if record.key is not None else False


def _is_of(failed: Brief, planned: PlannedJob) -> bool:
    """Whether a failure is of the very picture that is planned, as far as it can be told."""
    if failed.inputs_key is not None and failed.inputs_key == planned.inputs_key:
        return True
    # One without either failed before anything was known of its inputs.
    return failed.key == planned.key if failed.key else failed.inputs_key is None


@dataclass(frozen=True, slots=True)
class _Found:
    """What the records say of a job: the last one of its picture and the last one of its failure."""

    made: Brief | None
    failed: Brief | None
    is_done: bool


class _Before:
    """What an output has of earlier runs, looked up for many jobs at a time."""

    def __init__(self, jobs: Sequence[Job], settings: RunSettings) -> None:
        self.num_of_another_precision = 0
        self._settings = settings
        self._ledger = records.read(settings.output)
        self._listed = _listed_pictures(self._ledger.made, settings.output)
        self._made_at = self._ledger.made.find(job.id for job in jobs)
        self._failed_at = self._ledger.failed.find(job.id for job in jobs)

    def verdicts(
        self, numbers: range, jobs: Sequence[Job], sketches: Sequence[_Sketch]
    ) -> list[int]:
        """What is known of jobs by their numbers among all, before any input is read."""
        known = self._briefs(list(numbers))
        places = self._made_at[numbers.start : numbers.stop].tolist()
        found: list[int | None] = [
            self._verdict(jobs[number], sketch, made, failed, at)
            for number, sketch, (made, failed), at in zip(
                numbers, sketches, known, places, strict=True
            )
        ]
        unsure = [n for n, verdict in enumerate(found) if verdict is None]
        are_whole = storage.in_parallel(self._is_whole, [known[n][0] for n in unsure])
        for n, is_whole in zip(unsure, are_whole, strict=True):
            found[n] = _DONE if is_whole else _TO_MAKE
        self._count_precisions(
            made for (made, _), verdict in zip(known, found, strict=True) if verdict == _DONE
        )
        return [_TO_MAKE if verdict is None else verdict for verdict in found]

    def look_up(self, numbers: Sequence[int], planned: Sequence[PlannedJob]) -> list[_Found]:
        """What is known of jobs by their numbers among all."""
        known = self._briefs(numbers)
        places = self._made_at[list(numbers)].tolist()
        are_done = [
            # Without a key it was to be made by the versions already.
            one.key is not None
            and made is not None
            and made.key == one.key
            and self._is_there(one.job, made, at)
            for one, (made, _), at in zip(planned, known, places, strict=True)
        ]
        unsure = [n for n, is_done in enumerate(are_done) if is_done is None]
        are_whole = storage.in_parallel(self._is_whole, [known[n][0] for n in unsure])
        for n, is_whole in zip(unsure, are_whole, strict=True):
            are_done[n] = is_whole
        self._count_precisions(
            made for (made, _), is_done in zip(known, are_done, strict=True) if is_done
        )
        return [
            _Found(made, failed, bool(is_done))
            for (made, failed), is_done in zip(known, are_done, strict=True)
        ]

    def left_alone(self, planned: PlannedJob, found: _Found) -> Outcome | None:
        """The failure of an earlier run, where this one is not to try again."""
        failed, settings = records.last_failure(found.failed, found.made), self._settings
        if failed is None or not _is_of(failed, planned):
            return None
        is_quarantined = (failed.attempts or 0) >= MAX_ATTEMPTS and not settings.retry_quarantined
        is_left = settings.skip_failed or is_quarantined
        return self._ledger.failed[failed.id] if is_left else None

    def _briefs(self, numbers: Sequence[int]) -> list[tuple[Brief | None, Brief | None]]:
        """What is recorded of jobs by their numbers: of what was made, and of what failed."""
        made, failed = (
            shelf.briefs(at[list(numbers)]) if len(shelf) else [None] * len(numbers)
            for shelf, at in (
                (self._ledger.made, self._made_at),
                (self._ledger.failed, self._failed_at),
            )
        )
        return list(zip(made, failed, strict=True))

    def _verdict(
        self, job: Job, sketch: _Sketch, made: Brief | None, failed: Brief | None, at: int
    ) -> int | None:
        """None where only reading the picture tells whether it is done."""
        if sketch.recipe is None:
            return _HOPELESS
        if made is not None:
            is_there = self._is_there(job, made, at)
            is_same = _is_same(made, sketch)
            if is_there is not False and is_same is not False:
                if is_same is None:
                    return _DOUBTFUL
                return _DONE if is_there else None
        last = records.last_failure(failed, made)
        is_to_tell = last is not None and (self._settings.skip_failed or last.attempts)
        if last is not None and is_to_tell and _is_same(last, sketch) is None:
            return _DOUBTFUL
        return _TO_MAKE

    def _is_there(self, job: Job, made: Brief, at: int) -> bool | None:
        """Whether the output holds the picture of a record, undamaged; None where only reading tells.

        The last record of an id is of the picture that lies under its name, which a run with other
        parameters may have written over the one that is asked for. A picture is read only where the
        store tells of it what it did not tell when it was written: changed since, or moved with all
        of the output.
        """
        if made.picture != output.picture_path(job, self._settings):
            return False
        if self._settings.replace and self._is_of_another_precision(made):
            return False
        if self._listed[at] == _SAME:
            return True
        return None if self._listed[at] == _UNSURE else False

    def _count_precisions(self, done: Iterable[Brief | None]) -> None:
        self.num_of_another_precision += sum(map(self._is_of_another_precision, done))

    def _is_of_another_precision(self, made: Brief | None) -> bool:
        """Whether it is known to have been made in another precision than the run is to compute in."""
        chosen = self._settings.precision
        return (
            made is not None
            and made.precision is not None
            and chosen not in ("auto", made.precision)
        )

    def _is_whole(self, made: Brief | None) -> bool:
        assert made is not None
        assert made.picture is not None
        try:
            data = storage.read_bytes(storage.join(self._settings.output, made.picture))
        except StorageError as exc:
            if ends_the_run(exc):
                raise
            return False
        return hashlib.sha256(data).hexdigest() == made.picture_digest


# What a listing tells of the picture of a record: nothing, or another size; the size; and that it
# was not written again.
_GONE, _UNSURE, _SAME = range(3)


def _listed_pictures(made: Shelf, url: str) -> NDArray[np.int8]:
    """What the store lists of the picture of each record, by its position."""
    states = np.full(len(made), _GONE, np.int8)
    if not made:
        return states
    entries = storage.list_objects(storage.join(url, output.IMAGES))
    for some in in_chunks(entries, _ENTRIES_AT_ONCE):
        at = made.held.find("picture", (f"{output.IMAGES}/{name}" for name, _ in some))
        listed = [each for (_, each), place in zip(some, at.tolist(), strict=True) if place >= 0]
        at = at[at >= 0]
        is_size = made.held.is_equal("picture_bytes", at, [each.size for each in listed])
        # A store that tells of no version tells nothing by it.
        versions = [each.version or None for each in listed]
        is_version = made.held.is_equal("picture_version", at, versions)
        states[at[is_size]] = _UNSURE
        states[at[is_size & is_version]] = _SAME
    return states


def _with_history(planned: PlannedJob, found: _Found) -> PlannedJob:
    """The job with what earlier runs had with it."""
    made, failed = found.made, found.failed
    planned = replace(
        planned,
        outdated=None if made is None else made.finished_at,
        failed_before=None if failed is None else failed.finished_at,
    )
    last = records.last_failure(failed, made)
    if last is None or not last.attempts or not _is_of(last, planned):
        return planned
    # Only one that is to be tried again comes here with as many as would keep it from that.
    return replace(planned, attempts=min(last.attempts, MAX_ATTEMPTS - 1))
