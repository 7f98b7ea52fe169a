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


@validated_dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RunSettings:
    """Raises pydantic.ValidationError for a value out of range, ConfigError for a wrong backbone."""

    output: Annotated[str, Field(min_length=1, description="Folder or URL to write to.")]
    device: Annotated[
        str,
        Field(
            pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
            description="auto takes the first of cuda, mps and cpu that is there.",
        ),
    ] = "auto"
    precision: Annotated[
        PrecisionChoice,
        Field(
            description="What the network computes in: auto takes bfloat16 where a short trial "
            "finds it faster on the device, float32 elsewhere."
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
            description="Per backbone, a weights file to use, or `torchvision` for its download.",
        ),
    ] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.weights) - set(PROFILES))
        if unknown:
            raise ConfigError(
                f"weights: expected one of {', '.join(PROFILES)}; found {', '.join(unknown)}"
            )
