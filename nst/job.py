"""What to make: the parameters of a picture, and one manifest row as a job."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as validated_dataclass
from pydantic_core import PydanticCustomError

# Goes up when the same inputs, parameters and weights would give another picture.
ENGINE_VERSION = 1

# Manifest columns that begin so are the user's own, carried along to the metadata and the gallery.
LABEL_PREFIX = "label_"


def _split_names(value: object) -> object:
    """Names given as one text, apart by spaces, commas or plus signs, as a CSV cell must hold them."""
    if isinstance(value, str):
        value = value.replace(",", " ").replace("+", " ").split()
    return tuple(value) or None if isinstance(value, list | tuple) else value


def _no_truth_value(value: object) -> object:
    """Python takes true for 1, which a manifest's author hardly means."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "a number")
    return value


LayerNames = Annotated[tuple[str, ...] | None, BeforeValidator(_split_names)]
# Last in an annotation: before a bound, it would hide the bound from the schema.
Number = BeforeValidator(_no_truth_value)
Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False), Number]


@validated_dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PictureParams:
    """Everything but the inputs that decides what a picture looks like.

    Each field is a manifest column and a `--set` field, with its only default here. A value may
    come as text, as a CSV cell does. Raises pydantic.ValidationError for one out of range.
    """

    size: Annotated[
        int, Field(ge=32, le=8192, description="Long edge of the picture, in pixels."), Number
    ] = 512
    steps: Annotated[
        int,
        Field(ge=1, le=100_000, description="Evaluations of the loss and its gradient."),
        Number,
    ] = 100
    content_weight: Annotated[
        Weight,
        Field(description="Weight of the content loss; unitless, so that it serves any pair."),
    ] = 0.05
    style_weight: Annotated[
        Weight, Field(description="Weight of the style loss; unitless, 1 is full strength.")
    ] = 1.0
    tv_weight: Annotated[
        Weight,
        Field(description="Weight of the total variation, which smooths; try 1 to 10."),
    ] = 0.0
    content_layers: Annotated[
        LayerNames,
        Field(description="Layers that hold the content, in equal shares; empty: the backbone's."),
    ] = None
    style_layers: Annotated[
        LayerNames,
        Field(description="Layers that hold the style, in equal shares; empty: the backbone's."),
    ] = None
    init: Annotated[
        Literal["content", "noise"],
        Field(description="What the optimisation starts from: the content, or seeded noise."),
    ] = "content"
    optimizer: Annotated[
        Literal["lbfgs", "adam"],
        Field(description="lbfgs reaches in fewer steps what adam reaches in many."),
    ] = "lbfgs"
    seed: Annotated[
        int,
        Field(ge=0, le=2**63 - 1, description="Seed of the noise, for the init that has some."),
        Number,
    ] = 0


PARAM_FIELDS: Mapping[str, Any] = PictureParams.__pydantic_fields__  # type: ignore[attr-defined]
PARAMS_ADAPTER = TypeAdapter(PictureParams)


def params_dict(params: PictureParams) -> dict[str, Any]:
    """The parameters as plain values in the order of the fields."""
    return {name: getattr(params, name) for name in PARAM_FIELDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of the manifest.

    `content` and `style` are URLs that can be read; the names beside them are as the manifest wrote
    them, which is what people recognise and what stays the same when a folder moves.
    """

    row: int
    id: str
    content: str
    style: str
    content_name: str
    style_name: str
    backbone: str
    params: PictureParams
    labels: Mapping[str, str]


def job_key(job: Job, *, content_digest: str, style_digest: str, weights_digest: str) -> str:
    """What decides the picture's pixels, as one digest: equal keys, equal pictures.

    Where the inputs lie, what the row is called and how the run goes are left out.
    """
    parts = [
        ENGINE_VERSION,
        content_digest,
        style_digest,
        weights_digest,
        job.backbone,
        params_dict(job.params),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
