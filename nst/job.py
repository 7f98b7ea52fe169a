"""What to make: the parameters of a picture, and one manifest row as a job."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as validated_dataclass
from pydantic_core import PydanticCustomError

from nst.profiles import PROFILES, Topology, layer_and_weight

# Goes up when the same inputs, parameters and weights would give another picture.
ENGINE_VERSION = 8
# The version since which a method paints as it does now, so that older pictures of it stay done.
_PAINTS_SO_SINCE = {"gatys": 3, "pyramid": 8}

# The reach of the content is told relative to it.
DEFAULT_CONTENT_WEIGHT = 0.05

# Manifest columns that begin so are the user's own, carried along to the metadata and the gallery.
LABEL_PREFIX = "label_"


def _split(value: object) -> object:
    """Several values as one text, apart by spaces, commas or plus signs, as a CSV cell holds them."""
    if isinstance(value, str):
        value = value.replace(",", " ").replace("+", " ").split()
    return tuple(value) or None if isinstance(value, list | tuple) else value


def _folded(value: object) -> object:
    """A choice, or names of layers, whatever their capitals and the spaces around them."""
    return value.strip().lower() if isinstance(value, str) else value


def _all_folded(values: object) -> object:
    return tuple(map(_folded, values)) if isinstance(values, tuple) else values


def _weighed(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    for name in names or ():
        _, weight = layer_and_weight(name)
        if not 0 < weight <= _MAX_WEIGHT:
            raise PydanticCustomError(
                "weights",
                f"layers whose weights, as in relu1_1:2, are above 0 and up to {_MAX_WEIGHT:g}",
            )
    return names


def _some_weight(weights: tuple[float, ...] | None) -> tuple[float, ...] | None:
    if weights is not None and not sum(weights) > 0:
        raise PydanticCustomError("weights", "weights of which some are above 0")
    return weights


def _no_truth_value(value: object) -> object:
    """Python takes true for 1, which a manifest's author hardly means."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "a number")
    return value


def _own_size(value: object) -> object:
    return 0 if isinstance(value, str) and value.strip().lower() == OWN_SIZE else value


def _drawable(size: int) -> int:
    if 0 < size < MIN_SIZE:
        raise PydanticCustomError("weights", SIZES)
    return size


# Of a picture's long edge, in pixels.
MIN_SIZE, MAX_SIZE = 32, 8192
# The word for 0, which is the content's own.
OWN_SIZE = "content"
SIZES = f"a whole number from {MIN_SIZE} to {MAX_SIZE}, or `{OWN_SIZE}`"
Pooling = Literal["max", "avg"]
Method = Literal["pyramid", "gatys"]
# The weight of what holds colours down, if none is given: gatys paints as the paper does.
CHROMA_WEIGHTS: Mapping[Method, float] = {"pyramid": 0.1, "gatys": 0.0}
PreserveColor = Literal["none", "luminance", "match"]
Init = Literal["recolored", "content", "noise", "picture"]
Choice = BeforeValidator(_folded)
_MAX_WEIGHT = 1e6
# The one behind is the first to see the value.
LayerNames = Annotated[
    tuple[str, ...] | None,
    AfterValidator(_weighed),
    BeforeValidator(_all_folded),
    BeforeValidator(_split),
]
# Last in an annotation: before a bound, it would hide the bound from the schema.
Number = BeforeValidator(_no_truth_value)
Weight = Annotated[float, Field(ge=0, le=_MAX_WEIGHT, allow_inf_nan=False), Number]
Blend = Annotated[tuple[Weight, ...] | None, AfterValidator(_some_weight), BeforeValidator(_split)]


@validated_dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PictureParams:
    """Everything but the inputs that decides what a picture looks like.

    Each field is a manifest column and a `--set` field, with its only default here. A value may
    come as text, as a CSV cell does. Raises pydantic.ValidationError for one out of range.
    """

    size: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_SIZE,
            description=f"Long edge of the picture, in pixels, at least {MIN_SIZE}; `content`, or 0, for "
            "the content's own.",
        ),
        AfterValidator(_drawable),
        Number,
        BeforeValidator(_own_size),
    ] = 512
    method: Annotated[
        Method,
        Field(
            description="pyramid paints from coarse to fine, so that large shapes form and the look does "
            "not depend on the size; gatys at one size, as the paper does."
        ),
        Choice,
    ] = "pyramid"
    steps: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description="Evaluations of the loss and its gradient; of a pyramid those at the coarsest "
            "size, of which each next one has half, and at least a quarter: of 50 at 512 px 87 in all.",
        ),
        Number,
    ] = 50
    strength: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            allow_inf_nan=False,
            description="From 0, the content, to 1, the style, in place of the two weights; 0.5 is what "
            "they are by default. Empty: the weights.",
        ),
        Number,
    ] = None
    content_weight: Annotated[
        Weight,
        Field(description="Weight of the content loss; unitless, so that it serves any pair."),
    ] = DEFAULT_CONTENT_WEIGHT
    style_weight: Annotated[
        Weight, Field(description="Weight of the style loss; unitless, 1 is full strength.")
    ] = 1.0
    tv_weight: Annotated[
        Weight,
        Field(description="Weight of the total variation, which smooths; try 1 to 10."),
    ] = 0.0
    detail_weight: Annotated[
        Weight,
        Field(description="Weight of the loss that holds on to the content's edges; try 0.1 to 1."),
    ] = 0.0
    contrast_floor: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            allow_inf_nan=False,
            description="Share of the content's light and shade that a picture keeps at least, "
            "however dark or flat the style is; 0 keeps none.",
        ),
        Number,
    ] = 0.4
    noise_weight: Annotated[
        Weight,
        Field(description="Weight of the loss that holds grain down to the style's; 0 lets it be."),
    ] = 0.1
    chroma_weight: Annotated[
        Weight | None,
        Field(
            description="Weight of the loss that holds colours to the style's; 0 lets them be. Empty: "
            f"{CHROMA_WEIGHTS['pyramid']:g}, with gatys {CHROMA_WEIGHTS['gatys']:g}.",
        ),
    ] = None
    content_layers: Annotated[
        LayerNames,
        Field(
            description="Layers that hold the content, in equal shares or with weights of their own, "
            "as in `relu3_1:2 relu4_2`; empty: the backbone's."
        ),
    ] = None
    style_layers: Annotated[
        LayerNames,
        Field(description="Layers that hold the style, likewise; empty: the backbone's."),
    ] = None
    pooling: Annotated[
        Pooling,
        Field(description="How the network shrinks its features; avg is smoother."),
        Choice,
    ] = "max"
    style_blend: Annotated[
        Blend,
        Field(description="How much of each of several styles, such as `2 1`; empty: alike."),
    ] = None
    style_scale: Annotated[
        float,
        Field(
            ge=0.05,
            le=8,
            allow_inf_nan=False,
            description="Size of the style's pictures relative to `size`: above 1 strokes are larger.",
        ),
        Number,
    ] = 1.0
    content_size: Annotated[
        int | None,
        Field(
            ge=32,
            le=8192,
            description="Long edge that the content is shrunk to first, so that its details are gone "
            "when it is painted at `size`; empty: it is not.",
        ),
        Number,
    ] = None
    preserve_color: Annotated[
        PreserveColor,
        Field(
            description="Keep the content's colours: paint its luminance alone, or match the "
            "style's colours to it first."
        ),
        Choice,
    ] = "none"
    init: Annotated[
        Init,
        Field(
            description="What the optimisation starts from: the content in the style's colours, the "
            "content, seeded noise, or in a manifest the path or URL of a picture."
        ),
        Choice,
    ] = "recolored"
    tolerance: Annotated[
        float,
        Field(
            ge=0,
            le=0.5,
            allow_inf_nan=False,
            description="Stop when 10 evaluations lower the loss by less than this share of it; "
            "0 makes all steps.",
        ),
        Number,
    ] = 0.0
    optimizer: Annotated[
        Literal["lbfgs", "adam"],
        Field(description="lbfgs reaches in fewer steps what adam reaches in many."),
        Choice,
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
class Weighting:
    """The weights of content and style, and how much of the style's colours a picture starts with."""

    content: float
    style: float
    recolored: float


# With it LPIPS to the content goes up over most of the range of strengths, as docs/STUDY.md has it.
_STRENGTH_POWER = 1.5


def weighting_of(params: PictureParams) -> Weighting:
    """What `strength` says, or else the two weights."""
    strength = params.strength
    if strength is None:
        return Weighting(content=params.content_weight, style=params.style_weight, recolored=1.0)
    content, style = (2 * (1 - strength)) ** _STRENGTH_POWER, (2 * strength) ** _STRENGTH_POWER
    return Weighting(
        content=DEFAULT_CONTENT_WEIGHT * content, style=style, recolored=min(1.0, 2 * strength)
    )


def chroma_weight_of(params: PictureParams) -> float:
    """`chroma_weight`, or else the method's own."""
    given = params.chroma_weight
    return CHROMA_WEIGHTS[params.method] if given is None else given


def size_text(size: int) -> str:
    """A size as it is typed: the content's own has a word."""
    return str(size) if size else OWN_SIZE


def long_edge_px(params: PictureParams, height: int, width: int) -> int:
    """The long edge of the picture of a content [height, width]."""
    return params.size or max(MIN_SIZE, min(MAX_SIZE, max(height, width)))


def style_edge_px(params: PictureParams, long_edge_px: int) -> int:
    """The long edge at which a picture's style is looked at, unless it is smaller anyway."""
    return max(1, round(long_edge_px * params.style_scale))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of the manifest.

    `content`, `styles`, `mask` and `start`, the picture to start from, are URLs that can be read;
    the names are as the manifest wrote them, which is what people recognise and what stays the same
    when a folder moves. `style_masks` are those of the styles, None for one without; () if none has.
    """

    row: int
    id: str
    content: str
    styles: tuple[str, ...]
    content_name: str
    style_name: str
    backbone: str
    params: PictureParams
    labels: Mapping[str, str]
    mask: str | None = None
    mask_name: str | None = None
    start: str | None = None
    start_name: str | None = None
    style_masks: tuple[str | None, ...] = ()
    style_mask_name: str | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every picture that the job reads: content, styles, and what else there is."""
        others = (uri for uri in (self.mask, self.start, *self.style_masks) if uri is not None)
        return (self.content, *self.styles, *others)


def range_text(schema: Mapping[str, Any]) -> str:
    """What values a parameter may have, by its JSON schema, as a sentence, or nothing."""
    if "enum" in schema:
        return "One of " + ", ".join(f"`{choice}`" for choice in schema["enum"]) + "."
    schema = next(iter(schema.get("anyOf", [schema])))
    if "minimum" in schema and "maximum" in schema:
        low, high = (_number(schema[bound]) for bound in ("minimum", "maximum"))
        return f"From {low} to {high}."
    parts = [f"{word} {_number(schema[bound])}" for bound, word in _BOUNDS if bound in schema]
    return f"{' and '.join(parts).capitalize()}." if parts else ""


_BOUNDS = (
    ("minimum", "at least"),
    ("exclusiveMinimum", "above"),
    ("maximum", "at most"),
    ("exclusiveMaximum", "below"),
)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


# The one method of engines in which none could be named.
METHOD_ONCE = "gatys"
# The last version of these engines.
LAST_ENGINE_OF_ONE_METHOD = 3
# Parameters that were not there once: pictures that have them at these values have kept their keys.
_NEW_PARAMS: Mapping[str, object] = {
    "method": METHOD_ONCE,
    "strength": None,
    "chroma_weight": None,
}


def params_as_json(params: PictureParams) -> str:
    """The parameters as they stand in a key; many jobs have them in common."""
    told = {
        name: value
        for name, value in params_dict(params).items()
        if name not in _NEW_PARAMS or value != _NEW_PARAMS[name]
    }
    return json.dumps(told, sort_keys=True)


def recipe(job: Job, weights_digest: str, topology: Topology | None, params: str) -> str:
    """All of `job_key` but the inputs, as a short digest. `params` is `params_as_json`."""
    version = _PAINTS_SO_SINCE[job.params.method]
    parts = json.dumps([version, job.backbone, weights_digest, topology])
    return hashlib.sha256(f"{parts} {params}".encode()).hexdigest()[:16]


def inputs_key(job: Job, recipe: str, versions: Mapping[str, str]) -> str | None:
    """What decides the picture's pixels as far as it can be told without reading the inputs.

    Equal ones mean equal `job_key`s: the same recipe, and inputs that were not written in between, by
    their versions. The part before the dot is the recipe, so that another one can be told from other
    versions. None where one of the inputs, by its URL, has no version.
    """
    try:
        told = [f"{_READING}content {job.content}\n{versions[job.content]}"]
        told += [f"style {style}\n{versions[style]}" for style in job.styles]
        if job.mask is not None:
            told.append(f"mask {job.mask}\n{versions[job.mask]}")
        if job.start is not None:
            told.append(f"start {job.start}\n{versions[job.start]}")
        told += [
            f"style mask {number} {uri}\n{versions[uri]}"
            for number, uri in enumerate(job.style_masks, start=1)
            if uri is not None
        ]
    except KeyError:
        return None
    digest = hashlib.sha256("\n".join(told).encode()).hexdigest()
    # Short, since those of a million records are in memory.
    return f"{recipe}.{digest[:32]}"


# What versions cannot tell: the keys of pictures from some kinds of inputs have changed. Where a record
# does not say so, all inputs are read once, and only those pictures are made again.
_READING = "transparent styles and starts, opaque bitmaps\n"


def is_other_recipe(one: str, other: str) -> bool:
    """Whether two of `inputs_key` are of pictures that differ whatever their inputs are."""
    return one.partition(".")[0] != other.partition(".")[0]


def job_key(
    job: Job,
    *,
    digests: Mapping[str, str],
    weights_digest: str,
    topology: Topology | None = None,
    params: str | None = None,
    transparent: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """What decides the picture's pixels, as one digest: equal keys, equal pictures.

    Where the inputs lie, what the row is called and how the run goes are left out. `digests` are the
    sha256 of the inputs' bytes by their URL; `topology` is what the weights are for; `params` is
    `params_as_json`, if it is known; `transparent` says of inputs, by their URL, what their headers say
    of transparent pixels.
    """
    # The usual one was the only one once, and its pictures have kept their keys.
    is_usual = topology in (None, PROFILES[job.backbone].usual_topology)

    def read_anew(uri: str, kinds: tuple[str, ...]) -> str | list[str]:
        """The digest, marked if such an input is read otherwise than by the releases up to 0.2.0."""
        kind = transparent.get(uri, "none")
        return [digests[uri], kind] if kind in kinds else digests[uri]

    parts: list[Any] = [
        _PAINTS_SO_SINCE[job.params.method],
        read_anew(job.content, ("bitmap",)),
        [read_anew(style, ("some", "bitmap")) for style in job.styles],
        read_anew(job.mask, ("bitmap",)) if job.mask else None,
        read_anew(job.start, ("some", "bitmap")) if job.start else None,
        weights_digest if is_usual else [weights_digest, topology],
        job.backbone,
    ]
    if job.style_masks:
        # Others have kept their keys.
        parts.append({"style_masks": [uri and digests[uri] for uri in job.style_masks]})
    written = f"{json.dumps(parts)[:-1]}, {params or params_as_json(job.params)}]"
    return hashlib.sha256(written.encode()).hexdigest()
