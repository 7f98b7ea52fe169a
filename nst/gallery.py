"""Records -> the files of a static page: rows are content x style pairs, columns are backbones."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from urllib.parse import quote, unquote

from jinja2 import Environment, PackageLoader, StrictUndefined

from nst import output
from nst.job import params_dict
from nst.metadata import Outcome, Record
from nst.profiles import PROFILES

_ASSETS = ("gallery.css", "gallery.js")
_DIGITS = 4
_BUFFERED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumb:
    """An input as the page shows it; `src` is None where no preview of it was made."""

    name: str
    title: str
    src: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One picture, or the error in its place. `caption` tells it from others in the same cell."""

    record: Record
    src: str | None
    caption: str
    facts: tuple[tuple[str, str], ...]

    @property
    def outcome(self) -> Outcome:
        return self.record.outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A pair, with what each backbone made of it, in the order of the page's columns."""

    content: Thumb
    style: Thumb
    columns: tuple[tuple[Cell, ...], ...]


def render(records: Sequence[Record], *, previews: Set[str]) -> dict[str, str]:
    """The page's files by their path in the output.

    `previews` are the names of the input previews that the output has. The same records give the
    same files.
    """
    found = {record.backbone for record in records}
    # A row that was refused may name any other, or none.
    backbones = [*(name for name in PROFILES if name in found), *sorted(found - set(PROFILES))]
    environment = Environment(
        loader=PackageLoader("nst"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("gallery.html.j2").stream(
        rows=_rows(records, backbones, previews),
        backbones=backbones,
        num_pictures=len({record.outcome.picture for record in records} - {None}),
        num_failed=sum(record.outcome.status == "failed" for record in records),
        metadata=output.METADATA,
    )
    # Else every word of it is a string of its own for a moment, at four times the page's size.
    page.enable_buffering(_BUFFERED)
    assets = files("nst") / "assets"
    return {
        output.GALLERY: "".join(page),
        **{f"assets/{name}": (assets / name).read_text(encoding="utf-8") for name in _ASSETS},
    }


def _rows(records: Sequence[Record], backbones: Sequence[str], previews: Set[str]) -> list[Row]:
    pairs: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        pairs.setdefault((record.content, record.style), []).append(record)
    return [
        Row(
            content=_thumb(content, [r.outcome.content_digest for r in members], previews),
            style=_thumb(style, [r.outcome.style_digest for r in members], previews),
            columns=tuple(
                _cells([r for r in members if r.backbone == backbone]) for backbone in backbones
            ),
        )
        for (content, style), members in pairs.items()
    ]


def _thumb(reference: str, digests: Sequence[str | None], previews: Set[str]) -> Thumb:
    """The preview of an input by what any of its pair's rows knows of it."""
    names = [output.preview_name(digest) for digest in digests if digest is not None]
    name = next((name for name in names if name in previews), None)
    return Thumb(
        name=_readable(reference),
        title=reference,
        src=f"{output.INPUTS}/{name}" if name is not None else None,
    )


def _readable(reference: str) -> str:
    """`pictures/great-wave.jpg` -> `great wave`."""
    last = unquote(reference).rstrip("/").rpartition("/")[2]
    stem = last.rpartition(".")[0] or last
    return " ".join(stem.replace("-", " ").replace("_", " ").split()) or reference


def _cells(records: Sequence[Record]) -> tuple[Cell, ...]:
    """A cell for each picture, told from its neighbours by the settings that they do not share."""
    unique = list({record.outcome.id: record for record in records}.values())
    settings = [_settings(record) for record in unique]
    return tuple(
        Cell(
            record=record,
            src=quote(record.outcome.picture) if record.outcome.picture else None,
            caption=", ".join(
                f"{name} {value}"
                for name, value in own
                if any((name, value) not in others for others in settings)
            ),
            facts=(*_measured(record), *own, ("id", record.outcome.id)),
        )
        for record, own in zip(unique, settings, strict=True)
    )


Facts = tuple[tuple[str, str], ...]


def _settings(record: Record) -> Facts:
    """What a person set for this row: its labels, which may be called anything, and parameters."""
    given = {name: value for name, value in params_dict(record.params).items() if value is not None}
    labels = ((f"label {name}", value) for name, value in record.labels.items())
    inputs = {"mask": record.mask, "start": record.start}
    given |= {name: value for name, value in inputs.items() if value is not None}
    return (*labels, *((name.replace("_", " "), _shown(value)) for name, value in given.items()))


def _measured(record: Record) -> Facts:
    outcome = record.outcome
    losses = {
        "content loss": outcome.content_loss,
        "style loss": outcome.style_loss,
        "total loss": outcome.total_loss,
        "share of the first loss": outcome.loss_ratio,
        "SSIM to the content": outcome.ssim,
        "LPIPS to the content": outcome.lpips,
    }
    facts = [(name, _shown(value)) for name, value in losses.items() if value is not None]
    if outcome.style_layer_losses:
        layers = (f"{each.layer} {_shown(each.loss)}" for each in outcome.style_layer_losses)
        facts.append(("style loss by layer", ", ".join(layers)))
    if outcome.is_flat:
        facts.append(("flat", "all one tone; try another weight"))
    if outcome.evaluations is not None and outcome.evaluations < record.params.steps:
        facts.append(("stopped after", f"{outcome.evaluations} evaluations"))
    if outcome.seconds is not None:
        facts.append(("time", f"{outcome.seconds:.1f} s on {outcome.device}"))
    return tuple(facts)


def _shown(value: Any) -> str:
    match value:
        case float():
            return f"{value:.{_DIGITS}g}"
        case tuple():
            return " ".join(_shown(each) for each in value)
        case _:
            return str(value)
