"""What became of each job, and the table that tells it: outcomes, records, their columns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import IO, Any, Literal, get_args, get_origin

from nst.errors import NSTError, Reason, WorkerError
from nst.job import LABEL_PREFIX, PARAM_FIELDS, Job, PictureParams, params_dict
from nst.storage import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INSTANT,
    INT32,
    INT64,
    TEXT,
    Column,
    Table,
    Type,
    list_of,
    parquet_rows,
    struct_of,
    table_of,
    write_parquet,
)

SCHEMA_VERSION = 6

# A picture that has killed or hung what painted it so often in a row is left alone: quarantined.
MAX_ATTEMPTS = 2

Status = Literal["ok", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The unitless losses at one evaluation, counted from 1."""

    evaluation: int
    content: float
    style: float
    tv: float
    detail: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLoss:
    """The style loss of one layer by itself: 0 the style, 1 or somewhat more no features at all."""

    layer: str
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the picture `id`. Whatever was not reached is None."""

    id: str
    key: str | None = None
    inputs_key: str | None = None
    status: Status
    reason: Reason | None = None
    error: str | None = None
    attempts: int | None = None
    picture: str | None = None
    picture_digest: str | None = None
    picture_bytes: int | None = None
    picture_version: str | None = None
    thumbnail: str | None = None
    color: str | None = None
    height: int | None = None
    width: int | None = None
    content_digest: str | None = None
    style_digest: str | None = None
    weights_digest: str | None = None
    weights_origin: str | None = None
    weights_topology: str | None = None
    nst_version: str | None = None
    torch_version: str | None = None
    device: str | None = None
    precision: str | None = None
    seconds: float | None = None
    finished_at: datetime | None = None
    evaluations: int | None = None
    content_loss: float | None = None
    style_loss: float | None = None
    tv_loss: float | None = None
    detail_loss: float | None = None
    contrast_loss: float | None = None
    noise_loss: float | None = None
    chroma_loss: float | None = None
    total_loss: float | None = None
    loss_ratio: float | None = None
    style_layer_losses: tuple[LayerLoss, ...] = ()
    ssim: float | None = None
    lpips: float | None = None
    lpips_grey: float | None = None
    cfsd: float | None = None
    style_distance: float | None = None
    color_distance: float | None = None
    noise: float | None = None
    is_flat: bool | None = None
    loss_curve: tuple[CurvePoint, ...] = ()
    kept: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row of a manifest and what became of it: one row of the metadata.

    `manifest` is the manifest's name; None in what releases up to 0.2.0 wrote.
    """

    row: int
    content: str
    style: str
    mask: str | None = None
    start: str | None = None
    style_mask: str | None = None
    backbone: str
    labels: Mapping[str, str]
    params: PictureParams
    outcome: Outcome
    manifest: str | None = None


_CURVE = list_of(
    struct_of(
        evaluation=INT32, content=FLOAT32, style=FLOAT32, tv=FLOAT32, detail=FLOAT32, total=FLOAT32
    )
)
_LAYER_LOSSES = list_of(struct_of(layer=TEXT, loss=FLOAT32))

OUTCOME_COLUMNS = (
    Column("id", TEXT, "Name of the picture, the same across runs."),
    Column("key", TEXT, "Digest of all that decides the pixels but `precision` and the machine."),
    Column(
        "inputs_key",
        TEXT,
        "Digest of the same but the inputs' bytes, of which it has the URLs and versions: ETags, or "
        "times and inodes. Null where a store tells none, and in what releases up to 0.2.0 wrote.",
    ),
    Column("status", TEXT, "`ok` or `failed`."),
    Column("reason", TEXT, "Why a row failed, as one of a closed list of words."),
    Column("error", TEXT, "Why a row failed, as a sentence that says what to do."),
    Column(
        "attempts",
        INT32,
        "How often in a row the picture killed or hung what painted it; from 2 on it is "
        "quarantined.",
    ),
    Column("picture", TEXT, "Path of the picture, relative to the output."),
    Column("picture_digest", TEXT, "sha256 of the picture file's bytes."),
    Column("picture_bytes", INT64, "Size of the picture file in bytes."),
    Column(
        "picture_version",
        TEXT,
        "What the store tells of the file that changes when it is written: ETag or time in ns.",
    ),
    Column(
        "thumbnail",
        TEXT,
        "Path of its thumbnails, relative to the output, without their `-256.webp` and "
        "`-512.webp`.",
    ),
    Column("color", TEXT, "Mean colour of the picture, as `#rrggbb`."),
    Column("height", INT32, "Height of the picture in pixels."),
    Column("width", INT32, "Width of the picture in pixels."),
    Column("content_digest", TEXT, "sha256 of the content file's bytes."),
    Column("style_digest", TEXT, "sha256 of the style file's bytes."),
    Column("weights_digest", TEXT, "sha256 of the backbone's weights file."),
    Column("weights_origin", TEXT, "`embedded`, `torchvision` or `file`."),
    Column(
        "weights_topology",
        TEXT,
        "Where a ResNet-50 has its strides: `torchvision` or `caffe`; null for a VGG, and in what "
        "releases up to 0.2.0 wrote, which knew `torchvision` alone.",
    ),
    Column("nst_version", TEXT, "Version of this project that made the picture."),
    Column("torch_version", TEXT, "Version of PyTorch that made the picture."),
    Column("device", TEXT, "Device that made the picture."),
    Column("precision", TEXT, "What the network computed in: `float32` or `bfloat16`."),
    Column(
        "seconds",
        FLOAT64,
        "Optimisation time of its batch, divided by the batch's size; loading left out.",
    ),
    Column("finished_at", INSTANT, "When the picture was written, or failed."),
    Column("evaluations", INT32, "Evaluations of the loss that were made."),
    Column(
        "content_loss",
        FLOAT32,
        "Final content loss: 0 the content's features, 1 the same features everywhere.",
    ),
    Column(
        "style_loss",
        FLOAT32,
        "Final style loss: 0 the style, 1 or a little more no features at all.",
    ),
    Column("tv_loss", FLOAT32, "Final total variation: mean squared neighbour difference."),
    Column("detail_loss", FLOAT32, "Final detail loss: 0 the content's edges, 1 no edges at all."),
    Column(
        "contrast_loss",
        FLOAT32,
        "Final shortfall of light and shade: 0 all that is kept of the content's, 1 none.",
    ),
    Column(
        "noise_loss",
        FLOAT32,
        "Final excess of grain over nine tenths of the energy that the style has of it; 0 none.",
    ),
    Column(
        "chroma_loss",
        FLOAT32,
        "How far chroma is outside the style's at the end, (r - 1)^2 where it is r deviations from the "
        "style's mean; 0 within.",
    ),
    Column("total_loss", FLOAT32, "What was minimised, at the end: all of them weighed together."),
    Column("loss_ratio", FLOAT32, "Final total loss over that of the first evaluation."),
    Column("style_layer_losses", _LAYER_LOSSES, "Final style loss of each layer by itself."),
    Column(
        "ssim",
        FLOAT32,
        "Structural similarity of the luma to the content's: 1 the content, 0 nothing of it.",
    ),
    Column(
        "lpips",
        FLOAT32,
        "LPIPS distance (VGG-16, v0.1) to the content, both at 256 px or less: 0 the content.",
    ),
    Column("lpips_grey", FLOAT32, "As `lpips`, of the luma of both, so that no colour counts."),
    Column(
        "cfsd",
        FLOAT32,
        "Content feature structural distance (VGG-19), both at 256 px or less: 0 where the parts "
        "of the picture are as like each other as those of the content.",
    ),
    Column(
        "style_distance",
        FLOAT32,
        "Distance of Gram matrices, the style loss of `method=gatys`, by a network that did not "
        "paint, both at 256 px or less: 0 the style, 1 no features at all. VGG-19 measures what "
        "VGG-16 painted, VGG-16 all else.",
    ),
    Column(
        "color_distance",
        FLOAT32,
        "Hellinger distance of RGB-uv histograms to the style, both at 256 px or less: 0 the same "
        "colours, 1 none in common.",
    ),
    Column(
        "noise",
        FLOAT32,
        "Energy in the highest octave of frequencies, over the style's at the size at which it "
        "was looked at: 1 as much grain as the style has, above 1 more.",
    ),
    Column("is_flat", BOOL, "Whether the picture came out as one colour."),
    Column(
        "loss_curve", _CURVE, "Losses at up to 64 evaluations, the first and the last included."
    ),
    Column(
        "kept",
        list_of(TEXT),
        "Paths of its intermediate pictures, relative to the output, each named by its evaluation; "
        "null without `--keep-every`, and in what releases up to 0.2.0 wrote.",
    ),
)

# What tells which files a row has; its losses take ten times as much.
CLAIM_COLUMNS = tuple(
    column
    for column in OUTCOME_COLUMNS
    if column.name
    in (
        *("id", "status", "picture", "picture_digest", "height", "width"),
        *("content_digest", "style_digest", "kept"),
    )
)


def _type_of(kind: Any, bounds: Sequence[Any] = ()) -> Type:
    """The column's type of a parameter: of its own type, an integer's width by its upper bound."""
    if kind is bool:
        return BOOL
    if kind is int:
        highest = min((each.le for each in bounds if hasattr(each, "le")), default=2**63 - 1)
        return INT32 if highest < 2**31 else INT64
    if kind is float:
        return FLOAT64
    if kind is str or get_origin(kind) is Literal:
        return TEXT
    first, *others = get_args(kind)
    if get_origin(kind) is tuple:
        return list_of(_type_of(first))
    # One that may be left out, or one with bounds of its own, in a Field too.
    own = [bound for each in others for bound in getattr(each, "metadata", [each])]
    return _type_of(first, [*bounds, *own])


ROW_COLUMNS = (
    Column("row", INT64, "Number of the manifest row, from 1."),
    Column("content", TEXT, "The content as the manifest writes it."),
    Column("style", TEXT, "The style as the manifest writes it."),
    Column("mask", TEXT, "The mask as the manifest writes it."),
    Column("start", TEXT, "The picture to start from as the manifest writes it."),
    Column("style_mask", TEXT, "The masks of the styles as the manifest writes them."),
    Column("backbone", TEXT, "The backbone."),
    Column(
        "manifest",
        TEXT,
        "URL or path of the row's manifest, without credentials; of one in the output, its path in "
        "it. Null in what releases up to 0.2.0 wrote.",
    ),
)
PARAM_COLUMNS = tuple(
    Column(name, _type_of(field.annotation, field.metadata), field.description)
    for name, field in PARAM_FIELDS.items()
)


def outcomes_to_table(outcomes: Iterable[Outcome]) -> Table:
    """The outcomes as the columns of OUTCOME_COLUMNS."""
    return table_of(map(asdict, outcomes), OUTCOME_COLUMNS)


def write_outcomes(file: IO[bytes], tables: Iterable[Table]) -> None:
    """Write tables of outcomes as one Parquet file into an open file."""
    # Few together, since they are read a few at a time.
    write_parquet(file, tables, OUTCOME_COLUMNS, notes=_NOTES, group_rows=1000)


def record_of(job: Job, outcome: Outcome, manifest: str | None = None) -> Record:
    """The row of the manifest of this name with what became of it."""
    return Record(
        row=job.row,
        content=job.content_name,
        style=job.style_name,
        mask=job.mask_name,
        start=job.start_name,
        style_mask=job.style_mask_name,
        backbone=job.backbone,
        labels=job.labels,
        params=job.params,
        outcome=outcome,
        manifest=manifest,
    )


def jobs_to_table(jobs: Iterable[Job], labels: Sequence[str], manifest: str | None = None) -> Table:
    """All columns of the metadata but those of outcomes; the jobs are those of one manifest."""
    cells = (
        {
            "row": job.row,
            "content": job.content_name,
            "style": job.style_name,
            "mask": job.mask_name,
            "start": job.start_name,
            "style_mask": job.style_mask_name,
            "backbone": job.backbone,
            "manifest": manifest,
            **params_dict(job.params),
            **{LABEL_PREFIX + name: value for name, value in job.labels.items()},
        }
        for job in jobs
    )
    return table_of(cells, [*ROW_COLUMNS, *PARAM_COLUMNS, *_label_columns(labels)])


def write_metadata(file: IO[bytes], tables: Iterable[Table], labels: Sequence[str]) -> None:
    """Write the metadata into an open file: tables of jobs and their outcomes side by side.

    They have a column for each of `labels`, and are taken one after the other.
    """
    write_parquet(file, tables, metadata_columns(labels), notes=_NOTES, group_rows=5000)


def metadata_columns(labels: Sequence[str]) -> list[Column]:
    """All columns of metadata with these labels, in order."""
    return [*ROW_COLUMNS, *OUTCOME_COLUMNS, *PARAM_COLUMNS, *_label_columns(labels)]


def _label_columns(labels: Sequence[str]) -> list[Column]:
    return [Column(LABEL_PREFIX + name, TEXT, "Label of the manifest.") for name in labels]


def metadata_from_parquet(data: bytes) -> list[Record]:
    """The rows of the metadata, of earlier releases too. Raises TableError for other bytes."""
    return [
        Record(
            row=row["row"],
            content=row["content"],
            style=row["style"],
            mask=row["mask"],
            start=row["start"],
            style_mask=row.get("style_mask"),
            backbone=row["backbone"],
            labels={
                name.removeprefix(LABEL_PREFIX): value
                for name, value in row.items()
                if name.startswith(LABEL_PREFIX) and value is not None
            },
            # A row of an earlier release lacks some, in a table that has them for others too.
            params=PictureParams(
                **{name: row[name] for name in PARAM_FIELDS if row.get(name) is not None}
            ),
            outcome=outcome_of_row(row),
            manifest=row.get("manifest"),
        )
        for row in parquet_rows(data)
    ]


_NOTES = {"schema_version": str(SCHEMA_VERSION)}


def claims_of(table: Table) -> Iterator[Outcome]:
    """The outcomes of a table as far as they tell which files there are, by CLAIM_COLUMNS."""
    names = [column.name for column in CLAIM_COLUMNS]
    return map(outcome_of_row, table.select(names).to_pylist())


def outcome_of_row(row: Mapping[str, Any]) -> Outcome:
    """The outcome among the cells of a row; what is not among them is None."""
    # A release knows columns that earlier ones did not.
    values = {field.name: row[field.name] for field in fields(Outcome) if field.name in row}
    curve = tuple(CurvePoint(**point) for point in row.get("loss_curve") or ())
    layers = tuple(LayerLoss(**each) for each in row.get("style_layer_losses") or ())
    kept = tuple(row.get("kept") or ()) or None
    return Outcome(**{**values, "loss_curve": curve, "style_layer_losses": layers, "kept": kept})


def failure(
    job_id: str, error: NSTError, *, key: str | None = None, inputs_key: str | None = None
) -> Outcome:
    """The outcome of a job that `error` stopped."""
    return Outcome(
        id=job_id,
        key=key,
        inputs_key=inputs_key,
        status="failed",
        reason=error.reason,
        error=str(error),
        attempts=error.attempts if isinstance(error, WorkerError) else None,
        finished_at=datetime.now(UTC),
    )
