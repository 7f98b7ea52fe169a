"""Items -> what the head of a gallery says of them: whose they are, when and how they were made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from nst.gallery.facets import Items, Value
from nst.gallery.texts import number_text
from nst.job import OWN_SIZE, PictureParams
from nst.wording import counted

_NO_NAME = "Style transfers"
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
# Said whatever they are; others where they are not the default.
_ALWAYS_SAID = ("size", "steps", "content_weight", "style_weight")
_MAX_NAMED = 3
# Height to width, by the words that the style sheet knows.
_ASPECTS = {"wide": 0.5625, "landscape": 0.75, "square": 1.0, "portrait": 1.3333}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The name of the run, what its pictures are of, how they were made, what they all share."""

    title: str
    made_of: tuple[str, ...]
    made_by: tuple[str, ...]
    settings: tuple[str, ...]
    aspect: str


def summary_of(items: Items, names: Sequence[str]) -> Summary:
    """Of the items of runs with these names."""
    named = [name for name in names if name]
    return Summary(
        title=_title(named),
        made_of=_made_of(items),
        made_by=tuple(
            filter(None, (_date(items), _named(items, "device"), _named(items, "precision")))
        ),
        settings=_settings(items),
        aspect=_aspect(items),
    )


def _title(names: Sequence[str]) -> str:
    if len(names) > _MAX_NAMED:
        return counted(len(names), "run")
    return ", ".join(names) or _NO_NAME


def _made_of(items: Items) -> tuple[str, ...]:
    inputs = [
        counted(len(items.facets[name].values), name)
        for name in ("content", "style")
        if items.facets[name].values
    ]
    return tuple(filter(None, (" × ".join(inputs), _named(items, "backbone"))))


def _named(items: Items, name: str) -> str:
    """The values of a field, or of many how many they are."""
    facet = items.facets.get(name)
    values = [_text(value) for value in facet.values] if facet else []
    return ", ".join(values) if len(values) <= _MAX_NAMED else counted(len(values), name)


def _date(items: Items) -> str:
    """The day on which the pictures were made, or the first and the last of several."""
    facet = items.facets.get("finished_at")
    times = [str(value) for value in facet.values] if facet else []
    if not times:
        return ""
    days = list(dict.fromkeys((times[0][:10], times[-1][:10])))
    return " – ".join(_day(day) for day in days)


def _day(day: str) -> str:
    year, month, number = (int(part) for part in day.split("-"))
    return f"{number} {_MONTHS[month - 1]} {year}"


def _settings(items: Items) -> tuple[str, ...]:
    """The settings that are the same for all: those that matter most, and those set otherwise."""
    usual = {each.name: each.default for each in fields(PictureParams)}
    found = []
    for name, facet in items.facets.items():
        if facet.field.role != "setting" or facet.varies or not facet.values:
            continue
        (value,) = facet.values
        if name == "size" and value == OWN_SIZE:
            found.append("each content's own size")
            continue
        if name in ("content_weight", "style_weight") and _has_strength(items):
            continue
        if name in _ALWAYS_SAID or value != _shown_default(usual.get(name)):
            found.append(f"{facet.field.title} {_text(value)}")
    return tuple(found)


def _has_strength(items: Items) -> bool:
    """Whether some have a strength, which takes the place of both weights."""
    facet = items.facets.get("strength")
    return facet is not None and any(value is not None for value in facet.values)


def _shown_default(value: object) -> object:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _text(value: Value) -> str:
    return value if isinstance(value, str) else number_text(value)


def _aspect(items: Items) -> str:
    """The shape that most pictures have, or come next to."""
    is_known = (items.height > 0) & (items.width > 0)
    if not is_known.any():
        return "landscape"
    ratio = float(np.median(items.height[is_known] / items.width[is_known]))
    bounds = [math.sqrt(a * b) for a, b in pairwise(_ASPECTS.values())]
    return list(_ASPECTS)[sum(ratio > bound for bound in bounds)]
