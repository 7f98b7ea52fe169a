"""How a run goes: where to, on what, in which batches. Never part of a picture's identity."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass

from nst.errors import ConfigError
from nst.profiles import PROFILES

ImageFormat = Literal["png", "jpeg", "webp"]
Precision = Literal["float32", "bfloat16"]
PrecisionChoice = Literal["auto", "float32", "bfloat16"]
RunnerName = Literal["threads", "ray", "dask"]

DEFAULT_SCHEMES = ("file", "s3")
FAIL_OVER_PATTERN = r"^(\d+|(100(\.0+)?|\d{1,2}(\.\d+)?)%)?$"
DEVICE_PATTERN = r"^(auto|cpu|mps|cuda(:\d+)?|cuda:\d+(,cuda:\d+)+)$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """How the command line takes a setting, where that does not follow from its field.

    `form` tells in words what a pattern means. `is_path` tells which of its texts are paths or URLs:
    they come to mean the same in any working folder. With `adds`, what is given comes on top of the
    default. `of_plan`: it decides what a plan says, so that `nst plan` takes it too.
    """

    name: str = ""
    metavar: str | None = None
    help: str = ""
    form: str = ""
    is_path: Callable[[str], bool] | None = None
    adds: bool = False
    of_plan: bool = False


@validated_dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RunSettings:
    """Raises pydantic.ValidationError for a value out of range, ConfigError for a wrong backbone.

    Each field but `output` is an option of `nst run`, a parameter of the flow, a keyword of `nst.run`
    and an entry of run.json, all of which are made of what stands here.
    """

    output: Annotated[str, Field(min_length=1, description="Folder or URL to write to.")]
    device: Annotated[
        str,
        Field(
            pattern=DEVICE_PATTERN,
            description="What to compute on: auto takes every GPU, or else mps, or cpu; several GPUs "
            "are cuda:0,cuda:1.",
        ),
        Option(
            metavar="auto|cpu|mps|cuda|cuda:N[,...]",
            form="auto, cpu, mps, cuda, or GPUs by their numbers, as cuda:0 or cuda:0,cuda:1",
            of_plan=True,
        ),
    ] = "auto"
    lanes: Annotated[
        int,
        Field(ge=0, le=64, description="Groups to paint at a time; 0 paints one on each device."),
        Option(metavar="N"),
    ] = 0
    precision: Annotated[
        PrecisionChoice,
        Field(
            description="What the network computes in: auto takes what the output's pictures were "
            "made in, or else bfloat16 where all devices have units for it, or else float32."
        ),
        Option(of_plan=True),
    ] = "auto"
    deterministic: Annotated[
        bool,
        Field(
            description="On a GPU, use only algorithms that give the same bits each time, which are "
            "slower; a CPU always gives the same bits."
        ),
    ] = False
    image_format: Annotated[
        ImageFormat,
        Field(description="Format of the pictures."),
        Option(name="format", of_plan=True),
    ] = "png"
    max_batch_pixels: Annotated[
        int,
        Field(ge=1, description="Pixels of a batch together; bounds the memory it takes."),
        Option(metavar="N", of_plan=True),
    ] = 4 * 512 * 512
    weights: Annotated[
        Mapping[str, str],
        Field(
            description="Per backbone, a weights file or URL to use, or `torchvision` for its "
            "download; `#sha256=` and the digest behind a file refuses any other; `#topology=caffe` "
            "says that a ResNet-50 is one of Caffe or Keras.",
        ),
        Option(
            metavar="BACKBONE=FILE-OR-URL",
            is_path=lambda choice: choice != "torchvision",
            of_plan=True,
        ),
    ] = field(default_factory=dict)

    roots: Annotated[
        tuple[str, ...],
        Field(
            description="Folders and URL prefixes that inputs must lie in, or be; anywhere if there "
            "are none."
        ),
        Option(name="root", metavar="FOLDER-OR-URL", is_path=lambda _: True, of_plan=True),
    ] = ()
    schemes: Annotated[
        tuple[str, ...],
        Field(
            description="Schemes of the URLs that may be read and written, such as https or gs; "
            "file, which is a disk, and s3 if there are none."
        ),
        Option(
            name="allow-scheme",
            metavar="SCHEME",
            help="A scheme of URLs besides file and s3, such as https or gs.",
            adds=True,
            of_plan=True,
        ),
    ] = DEFAULT_SCHEMES
    keep_going: Annotated[
        bool,
        Field(description="Fail the rows of a manifest that are wrong, and run the others."),
        Option(of_plan=True),
    ] = False
    ignore_unknown_columns: Annotated[
        bool,
        Field(description="Leave out the columns of a manifest that are not known."),
        Option(of_plan=True),
    ] = False
    skip_failed: Annotated[
        bool, Field(description="Leave rows that failed before as they are.")
    ] = False
    retry_quarantined: Annotated[
        bool,
        Field(description="Try rows again that killed or hung the process that painted them."),
    ] = False
    replace: Annotated[
        bool,
        Field(description="Go on in an output whose pictures were made with other settings."),
    ] = False
    only: Annotated[
        bool,
        Field(
            description="Metadata and gallery of this manifest alone, without the rows that other "
            "manifests have in the output."
        ),
        Option(of_plan=True),
    ] = False
    keep_every: Annotated[
        int,
        Field(
            ge=0,
            le=100_000,
            description="Keep a picture as it is after each so many evaluations, in `steps/`; 0 keeps "
            "none.",
        ),
        Option(metavar="N"),
    ] = 0
    timeout_s: Annotated[
        float,
        Field(
            gt=0,
            le=1e6,
            description="Seconds without a sign of life after which a process that paints is ended.",
        ),
        Option(name="timeout", metavar="SECONDS"),
    ] = 600
    fail_over: Annotated[
        str,
        Field(
            pattern=FAIL_OVER_PATTERN,
            description="How many rows may fail, or what share of them, as 20 or 5%, before the run "
            "stops and fails; any if empty.",
        ),
        Option(
            metavar="NUMBER|SHARE%",
            form="a number of rows, as 20, or a share of them of at most 100%, as 5%",
        ),
    ] = ""
    isolate: Annotated[
        bool,
        Field(
            description="Paint in a process of its own, whose end costs one picture and no more."
        ),
    ] = True

    def __post_init__(self) -> None:
        unknown = sorted(set(self.weights) - set(PROFILES))
        if unknown:
            raise ConfigError(
                f"weights: expected one of {', '.join(PROFILES)}; found {', '.join(unknown)}"
            )
        if not self.isolate and (self.lanes > 1 or "," in self.device):
            raise ConfigError(
                "--no-isolate: expected one lane on one device, since all is painted in this "
                f"process; found --lanes {self.lanes} and --device {self.device}"
            )


_ALL: Mapping[str, Any] = RunSettings.__pydantic_fields__  # type: ignore[attr-defined]
# By name, each as pydantic knows it; where to write to is an argument of its own everywhere.
SETTING_FIELDS: Mapping[str, Any] = {n: each for n, each in _ALL.items() if n != "output"}


def default_of(name: str) -> Any:
    """The value that a setting has where none is given."""
    return SETTING_FIELDS[name].get_default(call_default_factory=True)


def option_of(name: str) -> Option:
    """How the command line takes a setting."""
    metadata = _ALL[name].metadata
    return next((each for each in metadata if isinstance(each, Option)), Option())


def option_name(name: str) -> str:
    """A setting as it is typed, such as `--format`."""
    return f"--{option_of(name).name or name.replace('_', '-')}"


def settings_of(
    output: str,
    given: Mapping[str, Any],
    *,
    absolute: Callable[[str], str] = lambda path: path,
    called: Callable[[str], str] = lambda name: name,
) -> RunSettings:
    """Settings of the values that are given; None, an empty list or mapping is the default.

    `absolute` is applied to paths and URLs. Raises ConfigError with every value that cannot be, each
    by what its setting is `called`.
    """
    unknown = [name for name in given if name not in SETTING_FIELDS]
    if unknown:
        near = get_close_matches(unknown[0], SETTING_FIELDS, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else f": {', '.join(SETTING_FIELDS)}"
        raise ConfigError(f"expected a setting of a run{meant}; found {unknown[0]!r}")
    values = {
        name: _with_paths(name, value, absolute, called(name))
        for name, value in given.items()
        if not _is_nothing(value)
    }
    try:
        return RunSettings(output=output, **values)
    except ValidationError as exc:
        problems = [
            f"{called(name)}: expected "
            f"{option_of(name).form or _expected(error['msg'])}"
            f"; found {error['input']!r}"
            for error in exc.errors()
            for name in [str(error["loc"][0])]
        ]
        raise ConfigError("\n".join(problems)) from exc
    except ConfigError as exc:
        # Of several settings together it names each as it is typed, of one by its field.
        name, colon, said = str(exc).partition(": ")
        raise ConfigError(f"{called(name) if name in _ALL else name}{colon}{said}") from exc


# What pydantic calls by its type.
_IN_WORDS = {"a valid tuple": "a list of texts", "a valid dictionary": "names with a text each"}


def _expected(message: str) -> str:
    expected = message.removeprefix("Input should be ")
    return _IN_WORDS.get(expected, expected)


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple | Mapping) and not value)


def _with_paths(name: str, value: Any, absolute: Callable[[str], str], shown: str) -> Any:
    """The value with its paths made absolute. Raises ConfigError for one that is empty."""
    is_path = option_of(name).is_path
    if is_path is None:
        return value

    def changed(text: Any) -> Any:
        path = os.fspath(text) if isinstance(text, os.PathLike) else text
        if not (isinstance(path, str) and is_path(path)):
            return path
        try:
            return absolute(path)
        except ConfigError as exc:
            raise ConfigError(f"{shown}: {exc}") from exc

    if isinstance(value, Mapping):
        return {key: changed(text) for key, text in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | os.PathLike):
        return tuple(map(changed, value))
    # One text is none of several, and is told as it was given.
    return value
