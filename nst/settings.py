"""How a run goes: where to, on what, in which batches. Never part of a picture's identity."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated_dataclass

from nst.errors import ConfigError
from nst.profiles import PROFILES

ImageFormat = Literal["png", "jpeg", "webp"]
Precision = Literal["float32", "bfloat16"]
PrecisionChoice = Literal["auto", "float32", "bfloat16"]
RunnerName = Literal["threads", "ray", "dask"]

DEFAULT_SCHEMES = ("file", "s3")
FAIL_OVER_PATTERN = r"^(\d+|\d+(\.\d+)?%)?$"
DEVICE_PATTERN = r"^(auto|cpu|mps|cuda(:\d+)?|cuda:\d+(,cuda:\d+)+)$"


@validated_dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RunSettings:
    """Raises pydantic.ValidationError for a value out of range, ConfigError for a wrong backbone."""

    output: Annotated[str, Field(min_length=1, description="Folder or URL to write to.")]
    device: Annotated[
        str,
        Field(
            pattern=DEVICE_PATTERN,
            description="auto takes every GPU, or else mps, or cpu; or GPUs such as cuda:0,cuda:1.",
        ),
    ] = "auto"
    lanes: Annotated[
        int,
        Field(ge=0, le=64, description="Groups painted at a time; 0: one for each device."),
    ] = 0
    precision: Annotated[
        PrecisionChoice,
        Field(
            description="What the network computes in: auto takes what the output's pictures were "
            "made in, or else bfloat16 where all devices have units for it, or else float32."
        ),
    ] = "auto"
    image_format: Annotated[
        ImageFormat, Field(description="Format of the pictures: png, jpeg or webp.")
    ] = "png"
    max_batch_pixels: Annotated[
        int, Field(ge=1, description="Pixels of a batch together; bounds the memory it takes.")
    ] = 4 * 512 * 512
    weights: Annotated[
        Mapping[str, str],
        Field(
            description="Per backbone, a weights file to use, or `torchvision` for its download; "
            "`#sha256=` and the digest behind a file refuses any other; `#topology=caffe` says that "
            "a ResNet-50 is one of Caffe or Keras.",
        ),
    ] = field(default_factory=dict)

    roots: Annotated[
        tuple[str, ...],
        Field(description="Folders and URL prefixes that inputs must lie in; empty: anywhere."),
    ] = ()
    schemes: Annotated[
        tuple[str, ...],
        Field(description="Schemes of the URLs that may be read and written; `file` is a disk."),
    ] = DEFAULT_SCHEMES
    keep_going: Annotated[
        bool,
        Field(description="Fail the rows of a manifest that are wrong, and run the others."),
    ] = False
    skip_failed: Annotated[
        bool, Field(description="Leave rows that failed in an earlier run as they are.")
    ] = False
    retry_quarantined: Annotated[
        bool,
        Field(description="Try rows again that killed or hung the process that painted them."),
    ] = False
    replace: Annotated[
        bool,
        Field(description="Go on in an output whose pictures were made with other settings."),
    ] = False
    fail_over: Annotated[
        str,
        Field(
            pattern=FAIL_OVER_PATTERN,
            description="How many rows may fail, or what share of them, as 20 or 5%, before the run "
            "stops and fails; empty: any.",
        ),
    ] = ""
    isolate: Annotated[
        bool,
        Field(
            description="Paint in a process of its own, whose end costs one picture and no more."
        ),
    ] = True

    timeout_s: Annotated[
        float,
        Field(
            gt=0,
            le=1e6,
            description="Seconds without a sign of life after which a process that paints is ended.",
        ),
    ] = 600

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
