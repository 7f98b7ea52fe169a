"""What a gallery tells of a picture: which fields, what they are for, which way is better."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from nst.gallery.texts import shown_text, told_apart
from nst.job import LABEL_PREFIX
from nst.output import OUTCOME_COLUMNS, PARAM_COLUMNS, ROW_COLUMNS

Role = Literal[
    "input",
    "backbone",
    "run",
    "setting",
    "label",
    "metric",
    "status",
    "provenance",
    "identity",
    "opinion",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One thing known of a picture. `better`: -1 where lower is, 1 where higher is, 0 neither.

    `column` is the metadata's; `name` is that, without what a page should not show of it. Pictures
    that differ in one that `is_decisive` have measures of other things, which none is the best of.
    One that `is_axis` has values which several pictures may share, to make rows and columns of.
    """

    column: str
    name: str
    title: str
    role: Role
    better: int = 0
    description: str = ""
    is_decisive: bool = False
    is_axis: bool = False


RUN = Field(
    column="run",
    name="run",
    title="run",
    role="run",
    description="The run that made it.",
    is_axis=True,
)

MANIFEST = "manifest"
_INPUTS = ("content", "style", "mask", "start", "style_mask")
_METRICS: Mapping[str, int] = {
    "content_loss": -1,
    "style_loss": -1,
    "tv_loss": -1,
    "detail_loss": -1,
    "contrast_loss": -1,
    "noise_loss": -1,
    "chroma_loss": -1,
    "total_loss": -1,
    "loss_ratio": -1,
    "ssim": 1,
    "lpips": -1,
    "lpips_grey": -1,
    "cfsd": -1,
    # Its judge is another network for VGG-16's pictures than for others: no best among backbones.
    "style_distance": 0,
    "color_distance": -1,
    "noise": -1,
    "is_flat": 0,
    "evaluations": 0,
    "seconds": -1,
}
_STATUS = ("status", "reason", "error", "attempts")
_PROVENANCE = (
    MANIFEST,
    "device",
    "precision",
    "nst_version",
    "torch_version",
    "weights_origin",
    "weights_topology",
    "weights_digest",
    "finished_at",
    "height",
    "width",
    "picture_bytes",
)
KEPT = "kept"
_IDENTITY = ("id", "row", KEPT)
# How a minimum is looked for; all other settings say of what.
_SEARCH = ("steps", "tolerance", "optimizer", "init", "seed", "start")
_DECISIVE = ("weights_digest", "weights_topology")
# Times and sizes are each picture's own, and an error is a sentence.
_NO_AXES = ("finished_at", "height", "width", "picture_bytes", "error", "attempts")
_TITLES = {"ssim": "SSIM", "lpips": "LPIPS", "lpips_grey": "LPIPS, grey", "cfsd": "CFSD"}
_DESCRIPTIONS = {
    column.name: column.description.replace("`", "")
    for column in (*ROW_COLUMNS, *OUTCOME_COLUMNS, *PARAM_COLUMNS)
}

# Shown even where no picture has any.
ALWAYS = ("content", "style", "backbone", "status")


def fields_of(columns: Iterable[str], *, has_runs: bool) -> tuple[Field, ...]:
    """The fields of metadata that has these columns, in the order in which they are told.

    Labels come in the order of the columns. A column that is none of ours and no label is left out.
    """
    found = dict.fromkeys(columns)
    labels = [name for name in found if name.startswith(LABEL_PREFIX)]
    settings = [column.name for column in PARAM_COLUMNS]
    return (
        *(_field(name, "input") for name in _INPUTS),
        _field("backbone", "backbone"),
        *((RUN,) if has_runs else ()),
        *_label_fields(labels),
        *(_field(name, "setting") for name in settings),
        *(_field(name, "metric", better) for name, better in _METRICS.items()),
        *(_field(name, "status") for name in _STATUS),
        *(_field(name, "provenance") for name in _PROVENANCE),
        *(_field(name, "identity") for name in _IDENTITY),
    )


def _field(name: str, role: Role, better: int = 0) -> Field:
    return Field(
        column=name,
        name=name,
        title=_TITLES.get(name, name.replace("_", " ")),
        role=role,
        better=better,
        description=_DESCRIPTIONS[name],
        is_decisive=name in _DECISIVE
        or (role in ("input", "backbone", "setting") and name not in _SEARCH),
        is_axis=role not in ("metric", "identity") and name not in _NO_AXES,
    )


def _label_fields(columns: list[str]) -> list[Field]:
    titles = told_apart(shown_text(column.removeprefix(LABEL_PREFIX)) for column in columns)
    return [
        Field(column=column, name=LABEL_PREFIX + title, title=title, role="label", is_axis=True)
        for column, title in zip(columns, titles, strict=True)
    ]
