"""What a run starts from where no manifest was written: pictures by their names, as a matrix that is kept."""

import errno
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from nst import pipeline, storage
from nst.errors import ConfigError, ForbiddenError, NotFoundError
from nst.manifest import (
    Matrix,
    Source,
    advice_on_place,
    check_urls,
    choice_of,
    example_text,
    matrix,
    parse_overrides,
    schemes_of,
    source_of,
)
from nst.output import Outcome
from nst.pictures import PICTURE_SUFFIXES
from nst.planning import Plan
from nst.profiles import DEFAULT_BACKBONE, PROFILES
from nst.redaction import redacted
from nst.running import (
    InThisProcess,
    Listener,
    Listeners,
    NoListener,
    Painter,
    open_painter,
)
from nst.scales import scales_of
from nst.settings import ImageFormat, RunSettings

# By what -o ends in where it names one picture.
_FORMATS: Mapping[str, ImageFormat] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
}
_NAME = "manifest{}.yaml"
# Settings that say what one run does with what is there, and nothing of what is painted.
_ONCE = ("skip_failed", "retry_quarantined", "replace")
_FORMS = (
    "nst run MANIFEST --output OUTPUT, nst run --content PHOTOS/ --style PAINTINGS/ --output OUTPUT, or "
    "nst run PHOTO.jpg PAINTING.jpg -o out.png"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The pictures that were named in place of a manifest, and the matrix of them."""

    contents: tuple[Source, ...]
    styles: tuple[Source, ...]
    matrix: Matrix

    @property
    def num_others(self) -> int:
        """Files beside them that are no pictures."""
        return sum(source.num_others for source in (*self.contents, *self.styles))


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """The words of a command that say what is painted. Raises ConfigError where they do not go together.

    `places` are those without an option: a manifest, or a content and a style.
    """

    places: Sequence[str] = ()
    contents: Sequence[str] = ()
    styles: Sequence[str] = ()
    backbones: Sequence[str] = ()

    def __post_init__(self) -> None:
        named, extra = bool(self.contents or self.styles), len(self.places)
        if named and extra:
            raise ConfigError(
                "expected no names beside those of --content and --style; found "
                f"{_some(self.places)}; put a pattern in quotes, as --content 'photos/*.jpg', or "
                "name the folder, as --content photos/"
            )
        if bool(self.contents) != bool(self.styles):
            given, missing = ("--content", "--style") if self.contents else ("--style", "--content")
            raise ConfigError(f"expected {missing} beside {given}, a folder, file, pattern or URL")
        if not named and not extra:
            raise ConfigError(f"expected what to paint, found none; type {_FORMS}")
        if extra > 2:
            raise ConfigError(
                f"expected a manifest, or a content and a style; found {extra} names, "
                f"{_some(self.places)}; for several pictures name folders or patterns in quotes, as "
                "--content 'photos/*.jpg' --style paintings/"
            )
        if extra == 1 and self.backbones:
            raise ConfigError(
                "--backbone: expected --content and --style with it; a manifest names the backbones "
                "of its rows in a column"
            )
        for name in self.backbones:
            if choice_of(name, PROFILES) not in PROFILES:
                raise ConfigError(f"--backbone: expected {', '.join(PROFILES)}; found {name!r}")

    @property
    def manifest(self) -> str | None:
        """The manifest that was named; None where pictures were."""
        return self.places[0] if len(self.places) == 1 else None

    @property
    def is_one_picture(self) -> bool:
        """Whether one content and one style were named, and each is a picture by its name."""
        named = (*self.all_contents, *self.all_styles)
        return len(named) == 2 and all(
            name.lower().endswith(PICTURE_SUFFIXES) and not storage.is_pattern(name)
            for name in named
        )

    @property
    def all_contents(self) -> tuple[str, ...]:
        return (*self.contents, *self.places[:1])

    @property
    def all_styles(self) -> tuple[str, ...]:
        return (*self.styles, *self.places[1:])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more


def named(typed: Typed, overrides: Mapping[str, str], output: str) -> Named:
    """The pictures that were named, each once and in their order.

    `overrides` become columns, so that the matrix alone says what is painted. Raises ConfigError for
    places without pictures, ManifestError for overrides that cannot be, StorageError if a store fails.
    """
    parse_overrides(overrides)
    contents = [source_of(text, "--content", output) for text in typed.all_contents]
    styles = [source_of(text, "--style", output) for text in typed.all_styles]
    made = Matrix(
        contents=_distinct(contents),
        styles=_distinct(styles),
        backbones=_backbones(typed.backbones),
        params=dict(overrides),
    )
    return Named(contents=tuple(contents), styles=tuple(styles), matrix=made)


def _backbones(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(choice_of(each, PROFILES) for each in names)) or (DEFAULT_BACKBONE,)


def _distinct(sources: Sequence[Source]) -> tuple[str, ...]:
    pictures = dict.fromkeys(itertools.chain.from_iterable(each.pictures for each in sources))
    return tuple(map(storage.escaped, pictures))


def place_of(wanted: Matrix, output: str) -> str:
    """Where a run keeps a matrix: a manifest of the output with no row that the matrix lacks, or a new one.

    So no run replaces the rows of another one, nor what a person has written into a manifest.
    """
    chosen = None
    for number in itertools.count(1):
        url = storage.join(output, _NAME.format("" if number == 1 else f"-{number}"))
        try:
            there = matrix.of_text(storage.read_bytes(url))
        except NotFoundError:
            return chosen or url
        if there == wanted:
            return url
        if chosen is None and there is not None and wanted.covers(there):
            chosen = url
    raise AssertionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a run reads: a manifest, or the pictures that were named, whose matrix is kept there."""

    manifest: str
    overrides: Mapping[str, str]
    named: Named | None = None

    @property
    def kept_as(self) -> str | None:
        """Where the run keeps the matrix; None of a manifest that was given."""
        return self.manifest if self.named else None

    @contextmanager
    def opened(self) -> Iterator[str]:
        """The manifest where it can be read within this; a matrix is not in the output yet."""
        if self.named is None:
            yield self.manifest
            return
        with TemporaryDirectory(prefix="nst-") as folder:
            path = storage.join(folder, self.manifest.rpartition("/")[2])
            storage.write_bytes(path, matrix.to_text(self.named.matrix))
            yield path


def start_of(
    typed: Typed, settings: RunSettings, overrides: Mapping[str, str], *, is_kept: bool = True
) -> Start:
    """What was typed as what a run reads; a matrix that is not kept looks for no place in the output.

    Raises what `named` raises.
    """
    if typed.manifest is not None:
        return Start(manifest=manifest_uri(typed.manifest), overrides=overrides)
    # Before the output is looked into, as its URL may have credentials.
    check_urls("-", settings)
    found = named(typed, overrides, settings.output)
    place = (
        place_of(found.matrix, settings.output)
        if is_kept
        else storage.join(settings.output, _NAME.format(""))
    )
    return Start(manifest=place, overrides={}, named=found)


def check_output(output: str | None, typed: Typed, line: str) -> str:
    """The output, where one was named. Raises ConfigError with what to type, `line` in most cases."""
    if output:
        return output
    advice = "" if typed.manifest is None else advice_on_place(manifest_uri(typed.manifest))
    raise ConfigError(
        "--output: expected a folder or a URL to write to, found none"
        + (advice or f"; type {redacted(line)}")
    )


def with_schemes(given: Mapping[str, Any], typed: Typed) -> dict[str, Any]:
    """The settings that were typed, with the schemes of the URLs of pictures, which allows them."""
    if typed.manifest is not None:
        return dict(given)
    schemes = schemes_of([*typed.all_contents, *typed.all_styles])
    return {**given, "schemes": [*dict.fromkeys([*(given.get("schemes") or ()), *schemes])]}


def without_once(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were typed, without those that are of one run alone and not of its output."""
    return {name: value for name, value in given.items() if name not in _ONCE}


def manifest_uri(text: str) -> str:
    """A manifest's path in any working folder, with the slash that says it is a folder."""
    uri = storage.absolute(text)
    return f"{uri}/" if text.endswith("/") and not uri.endswith("/") else uri


def check_free(url: str, option: str, fix: str) -> None:
    """Raises ConfigError where something is, since whoever typed the name may not mean to lose it."""
    try:
        is_there = storage.exists(url)
    except ForbiddenError as exc:
        raise ConfigError(f"{option}: expected a name that is free; {exc}") from exc
    if is_there:
        raise ConfigError(
            f"{option}: expected a name that is free, found that {url!r} is there; {fix}"
        )
    if _is_too_long(url):
        raise ConfigError(
            f"{option}: expected a name that the disk can have, found one that is too long for it: "
            f"{url!r}; {fix}"
        )


def _is_too_long(url: str) -> bool:
    """Whether no file of a disk can have this name, which only its writer would find out."""
    path = storage.local_path(url)
    if path is None:
        return False
    try:
        os.lstat(path)
    except OSError as exc:
        return exc.errno == errno.ENAMETOOLONG
    return False


def write_example(url: str) -> None:
    """Write an example of a manifest. Raises ConfigError where something is, or for another suffix."""
    data = example_text(url)
    check_free(url, "FILE", "choose another")
    storage.write_bytes(url, data)


def picture_format(output: str) -> ImageFormat | None:
    """The format of the one picture that an output names; None where it names a folder."""
    path = storage.local_path(output)
    if output.endswith("/") or (path is not None and os.path.isdir(path)):
        return None
    suffix = next((each for each in _FORMATS if output.lower().endswith(each)), None)
    return _FORMATS[suffix] if suffix else None


class _Last(NoListener):
    """Keeps what became of the last picture."""

    outcome: Outcome | None = None

    def recorded(self, group: object, outcome: Outcome) -> None:
        self.outcome = outcome


def painted(
    plan: Plan,
    settings: RunSettings,
    listener: Listener | None = None,
    painter: Painter | None = None,
) -> Outcome:
    """What became of the one picture of a plan, painted in this process unless there is a painter."""
    last = _Last()
    told = Listeners(last, listener or NoListener())
    told.planned(plan)
    for group in plan.groups:
        (painter or InThisProcess()).run_group(group, settings, told)
    outcome = plan.failed[0] if plan.failed else last.outcome
    assert outcome is not None
    return outcome


def paint_picture(
    wanted: Matrix, settings: RunSettings, to: str, listener: Listener | None = None
) -> Outcome:
    """Paint the one row of a matrix, and leave its picture at `to` and nothing else.

    `settings` have the format of `to`; their output is not used. Intermediate pictures that they keep
    are beside it, as `out-0010.png`. Where the outcome is failed, nothing is written. Raises
    ConfigError for several rows, and for a file that is there, unless the settings replace it and it
    is no input.
    """
    if wanted.num_rows != 1:
        raise ConfigError(
            f"--output: expected a folder for {wanted.num_rows} pictures, found {to!r}, the name of one"
        )
    _check_free(wanted, to, may_replace=settings.replace)
    with open_painter(settings) as painter, TemporaryDirectory(prefix="nst-") as folder:
        file = storage.join(folder, "manifest.yaml")
        storage.write_bytes(file, matrix.to_text(wanted))
        own = pipeline.with_output(settings, storage.join(folder, "out"))
        plan = pipeline.make_plan(file, own)
        for each in _kept_beside(to, plan, settings.keep_every):
            _check_free(wanted, each, may_replace=settings.replace)
        outcome = painted(plan, own, listener, painter)
        if outcome.picture is not None:
            for path in outcome.kept or ():
                number = int(path.rpartition("/")[2].partition(".")[0])
                data = storage.read_bytes(storage.join(own.output, path))
                storage.write_bytes(_beside(to, number), data)
            storage.write_bytes(to, storage.read_bytes(storage.join(own.output, outcome.picture)))
    return outcome


def _kept_beside(to: str, plan: Plan, every: int) -> Iterator[str]:
    """Where intermediate pictures of the one picture of a plan can come to be."""
    for group in plan.groups if every else ():
        scales = scales_of(group.height, group.width, group.jobs[0].job.params)
        for evaluation in range(every, sum(scale.steps for scale in scales) + 1, every):
            yield _beside(to, evaluation)


def _beside(to: str, evaluation: int) -> str:
    stem, _, suffix = to.rpartition(".")
    return f"{stem}-{evaluation:04}.{suffix}"


def _is_same_file(one: str, other: str | None) -> bool:
    """Also by another name: through a link, or in other capitals where these do not count."""
    if other is None:
        return False
    paths = storage.local_path(one), storage.local_path(other)
    if one == other or None in paths:
        return one == other
    try:
        return os.path.samefile(*map(str, paths))
    except OSError:
        return False


def _check_free(wanted: Matrix, to: str, *, may_replace: bool) -> None:
    if any(
        _is_same_file(to, storage.literal_of(each)) for each in (*wanted.contents, *wanted.styles)
    ):
        raise ConfigError(f"--output: expected another file than its inputs, found {to!r}")
    if not may_replace:
        check_free(to, "--output", "choose another, or give --replace")
