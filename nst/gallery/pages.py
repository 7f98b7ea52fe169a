"""Items -> the pages of a gallery: what is read before any script runs, and where none does."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from nst import output
from nst.gallery import codec
from nst.gallery.facets import Facet, Items, Source, Value
from nst.gallery.fields import Field
from nst.gallery.figures import CHIPS, Spans, best_of
from nst.gallery.pivot import Grid, cells_of, lines_of
from nst.gallery.summary import Summary
from nst.gallery.texts import chip_text, number_text, readable, shown_text, told_apart

_CSS = ("gallery.css",)
_CONTROLS_CSS = ("panel.css",)
_LARGE_CSS = ("large.css", "judge.css")
_TOOLS_CSS = ("tools.css",)
_GRID = (
    "codec.js",
    "opinions.js",
    "store.js",
    "format.js",
    "figures.js",
    "pivot.js",
    "usual.js",
    "dom.js",
    "cells.js",
    "grid.js",
    "app.js",
)
# What the first sign of a reader loads, and a link: nothing of it is seen before.
_CONTROLS = (
    "link.js",
    "query.js",
    "arrange.js",
    "compare.js",
    "say.js",
    "toolbar.js",
)
# What is asked for by a button, none of it large.
_TOOLS = (
    "filters.js",
    "plot.js",
    "about.js",
)
_LARGE = (
    "facts.js",
    "curve.js",
    "zoom.js",
    "picture.js",
    "bar.js",
    "modes.js",
    "scene.js",
    "stage.js",
    "save.js",
    "large.js",
    "export.js",
    "help.js",
    "judging.js",
    "ballots.js",
    "rate.js",
    "blind.js",
    "verdict.js",
    "again.js",
)
_LIVE = ("live.js",)

_NUM_FIRST_LINES = 4
_NUM_FIRST_CELLS = 12
_MAX_INDEX_BYTES = 10_240
_MAX_FIRST_COLUMNS = 8
_PAGE_LINES = 100
# Of more columns, each line of a plain page has the cells that it needs, one after the other.
_MAX_PAGE_COLUMNS = 12
_BUFFERED = 1000
_NONE = "none"
_APART_ROLES = ("input", "backbone", "run", "label", "setting")
_WALL_ROLES = ("input", "backbone", "run", "setting")
_INPUTS = ("content", "style")
_THUMB_PX = 256
_LARGE_THUMB_PX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumb:
    """An input as a page shows it; `src` is None where no preview of it was made."""

    name: str
    title: str
    src: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A measurement under a picture. `is_best` where no other of its row is lower."""

    title: str
    text: str
    is_best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One picture, or why there is none. `href` and `src` are URLs from where the page lies.

    `apart` tells it from others of its row that are in the same column.
    """

    index: int
    id: str
    href: str | None
    src: str | None
    srcset: str | None
    width: int | None
    height: int | None
    alt: str
    apart: str | None
    chips: tuple[Chip, ...]
    reason: str | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What stands above a column: its value, its picture if it is an input, what its pictures have.

    `spans` are the measures by the words for them, with their means and ranges.
    """

    text: str
    kind: str
    thumb: Thumb | None
    spans: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the grid: what its row is told by, and a cell for each column.

    `content` and `style` are None where they do not tell rows.
    """

    number: int
    is_first: bool
    content: Thumb | None
    style: Thumb | None
    facts: tuple[tuple[str, str], ...]
    cells: tuple[Cell | None, ...]


# The status of a row whose picture is still to be made, in the gallery alone.
WAITING = "waiting"


def is_failed(items: Items) -> NDArray[np.bool_]:
    """Which of the items failed."""
    status = items.facets["status"]
    failed = np.array([value == "failed" for value in (*status.values, None)])
    return failed[status.codes]


def run_names(sources: Sequence[Source]) -> list[str]:
    """The names of the runs as pages show them."""
    return told_apart(shown_text(source.name) for source in sources)


def assets_of_pages(*, is_live: bool = False) -> dict[str, tuple[str, bytes]]:
    """The style sheet and the scripts of the page, each of one file; one more while a run goes on."""

    def text_of(kind: str, names: Iterable[str]) -> bytes:
        texts = [
            (files("nst.gallery") / "assets" / name).read_text(encoding="utf-8") for name in names
        ]
        return _shrunk(kind, "\n".join(texts))

    made = {
        "css": ("gallery", "css", text_of("text/css", _CSS)),
        "js": ("gallery", "js", text_of("application/javascript", _GRID)),
        "controls": ("controls", "js", text_of("application/javascript", _CONTROLS)),
        "controls_css": ("controls", "css", text_of("text/css", _CONTROLS_CSS)),
        "large": ("large", "js", text_of("application/javascript", _LARGE)),
        "large_css": ("large", "css", text_of("text/css", _LARGE_CSS)),
        "tools": ("tools", "js", text_of("application/javascript", _TOOLS)),
        "tools_css": ("tools", "css", text_of("text/css", _TOOLS_CSS)),
    }
    if is_live:
        made["live_js"] = ("live", "js", text_of("application/javascript", _LIVE))
    return {
        kind: (f"assets/{name}.{codec.hash8(data)}.{suffix}", data)
        for kind, (name, suffix, data) in made.items()
    }


def _shrunk(kind: str, text: str) -> bytes:
    # Not before it is used: what it brings along hangs in a fork of the process that has loaded it.
    import minify

    made: str = minify.string(kind, text)
    return made.encode()


@cache
def _environment() -> Environment:
    """One for all galleries of a process: to compile the templates takes as long as to paint a small
    picture.
    """
    return Environment(
        loader=PackageLoader("nst.gallery"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


class Pages:
    """The pages of one gallery, which differ in the lines that they have."""

    def __init__(
        self,
        sources: Sequence[Source],
        items: Items,
        grid: Grid,
        summary: Summary,
        spans: Spans,
        spine: str,
        assets: Mapping[str, str],
        live: Mapping[str, Any] | None = None,
    ) -> None:
        self._sources = sources
        self._summary = summary
        self._items = items
        self._grid = grid
        self._live = live
        self._links = {"live_js": "", **assets, "spine": spine}
        self._run_names = tuple(run_names(sources)) if len(sources) > 1 else ()
        column = items.facets[grid.column].field
        self._columns = [_column_text(column, value) for value in grid.columns]
        self._spans = spans
        self._is_wall = grid.layout == "wall"
        # Of the last row, since one can have as many lines as there are items.
        self._cells = lru_cache(maxsize=1)(lambda row: cells_of(grid, row))
        self._apart = lru_cache(maxsize=1)(self._found_apart)
        self._thumb = lru_cache(maxsize=2)(self._found_thumb)
        self._best = lru_cache(maxsize=1)(lambda row: best_of(items, grid, row))

    @property
    def num_pages(self) -> int:
        return -(-self._grid.num_lines // _PAGE_LINES)

    def first(self, *, num_static: int) -> bytes:
        """`index.html`, with as many of its first lines as keep it small."""
        columns = range(min(len(self._columns), _MAX_FIRST_COLUMNS))
        if self._is_wall:
            lines = self._walls(range(min(len(self._items), _NUM_FIRST_CELLS)), root="")
        else:
            at = zip(lines_of(self._grid), range(_NUM_FIRST_LINES), strict=False)
            lines = [
                self._line(number, *each, root="", columns=columns)
                for number, (each, _) in enumerate(at)
            ]
        while True:
            page = self._rendered(
                "gallery.html.j2",
                root="",
                lines=lines,
                columns=[self._head(n, root="") for n in columns] if not self._is_wall else [],
                num_columns=len(self._columns),
                num_static=num_static,
                layout=self._grid.layout,
            )
            if len(page) <= _MAX_INDEX_BYTES or not _shorten(lines, is_wall=self._is_wall):
                return page

    def static_pages(self) -> Iterator[tuple[str, bytes]]:
        """`pages/1.html` and so on, with every line, and of the columns those that its lines use.

        If each item has a column of its own, all columns would be the square of all items.
        """
        at = list(lines_of(self._grid))
        for page in range(self.num_pages):
            first = page * _PAGE_LINES
            some = at[first : first + _PAGE_LINES]
            columns = sorted({column for row, n in some for column in self._cells(row)[n]})
            is_narrow = len(columns) <= _MAX_PAGE_COLUMNS
            lines = [
                line
                for number, each in enumerate(some, first)
                for line in (
                    [self._line(number, *each, root="../", columns=columns)]
                    if is_narrow
                    else self._packed(number, *each, root="../")
                )
            ]
            data = self._rendered(
                "page.html.j2",
                root="../",
                lines=lines,
                num_page_lines=len(some),
                columns=[self._head(n, root="../") for n in columns] if is_narrow else [],
                num_columns=len(columns) if is_narrow else _MAX_PAGE_COLUMNS,
                num_static=self.num_pages,
                layout="table",
                page=page + 1,
                num_pages=self.num_pages,
            )
            yield f"pages/{page + 1}.html", data

    def _head(self, column: int, *, root: str) -> Head:
        field = self._items.facets[self._grid.column].field
        return Head(
            text=self._columns[column],
            kind=field.name,
            thumb=self._column_thumb(field.name, column, root) if field.name in _INPUTS else None,
            spans=tuple(
                (
                    CHIPS[name],
                    chip_text(span[0]),
                    f"{chip_text(span[1], 2)}–{chip_text(span[2], 2)}",
                )
                for name, spans in self._spans.items()
                if (span := spans[column]) is not None
            ),
        )

    def _column_thumb(self, kind: str, column: int, root: str) -> Thumb:
        members = np.flatnonzero(self._grid.column_of == column)
        return self._thumb_of(kind, members.tolist(), root)

    def _packed(self, number: int, row: int, within: int, *, root: str) -> list[Line]:
        """A line of very many columns as lines of those cells that it has, each told by its column."""
        columns = sorted(self._cells(row)[within])
        parts = [
            columns[first : first + _MAX_PAGE_COLUMNS]
            for first in range(0, len(columns), _MAX_PAGE_COLUMNS)
        ]
        return [
            replace(
                line := self._line(number, row, within, root=root, columns=part),
                is_first=line.is_first and part is parts[0],
                cells=tuple(
                    replace(cell, apart=self._told(column, cell.apart)) if cell else None
                    for column, cell in zip(part, line.cells, strict=True)
                ),
            )
            for part in parts
        ]

    def _told(self, column: int, apart: str | None) -> str:
        return ", ".join(filter(None, (self._columns[column], apart)))

    def _walls(self, members: Iterable[int], *, root: str) -> list[Line]:
        """Pictures one after the other, each told by its inputs, as a single line that wraps."""
        cells = [
            replace(self._cell(item, {}, (), root), apart=self._label(item)) for item in members
        ]
        return [
            Line(number=0, is_first=True, content=None, style=None, facts=(), cells=tuple(cells))
        ]

    def _label(self, item: int) -> str:
        """What tells a picture on a wall: its inputs, and all else that varies."""
        facets = self._items.facets
        inputs = " × ".join(readable(_text(facets[name].at(item))) for name in _INPUTS)
        others = (
            _apart_text(facet, item)
            for name, facet in facets.items()
            if facet.field.role in _WALL_ROLES and facet.varies and name not in _INPUTS
        )
        return ", ".join((inputs, *others))

    def _rendered(self, template: str, *, root: str, lines: list[Line], **values: Any) -> bytes:
        items, grid = self._items, self._grid
        num_failed = int(np.count_nonzero(is_failed(items)))
        title = items.facets[grid.column].field.title
        stream = (
            _environment()
            .get_template(template)
            .stream(
                summary=self._summary,
                title=self._summary.title,
                num_items=len(items),
                num_ok=len(items) - num_failed,
                num_failed=num_failed,
                num_lines=grid.num_lines,
                num_rows=len(grid.row_patterns),
                num_unmatched=grid.num_unmatched,
                run_names=self._run_names,
                run_diff=self._run_diff(),
                live=self._live,
                root=root,
                column_title=title,
                column_fields=title,
                row_titles=[items.facets[name].field.title for name in grid.row],
                num_heads=sum(name in grid.row for name in _INPUTS),
                lines=lines,
                first_line=lines[0].number if lines else 0,
                metadata=[
                    (name or output.METADATA, root + source.base + output.METADATA)
                    for name, source in zip(self._run_names or ("",), self._sources, strict=True)
                ],
                **{name: root + path for name, path in self._links.items()},
                **values,
            )
        )
        # Else every word of it is a string of its own for a moment, at four times the page's size.
        stream.enable_buffering(_BUFFERED)
        return _shrunk("text/html", "".join(stream))

    def _run_diff(self) -> list[tuple[str, str]]:
        """What each run has throughout and another has otherwise: the field, and each run's."""
        return [
            (
                self._items.facets[name].field.title,
                ", ".join(
                    f"{run} {_text(value)}"
                    for run, value in zip(self._run_names, values, strict=True)
                ),
            )
            for name, values in self._grid.run_diff.items()
        ]

    def _line(
        self, number: int, row: int, within: int, *, root: str, columns: Iterable[int]
    ) -> Line:
        grid, items = self._grid, self._items
        first = int(grid.starts[row])
        cells = self._cells(row)[within]
        apart = self._apart(row)
        best = self._best(row)
        content, style = (
            self._thumb(name, row, root) if name in grid.row else None for name in _INPUTS
        )
        return Line(
            number=number,
            is_first=within == 0,
            content=content,
            style=style,
            facts=tuple(
                (items.facets[name].field.title, _text(items.facets[name].at(first)))
                for name in grid.row
                if name not in _INPUTS
            ),
            cells=tuple(
                self._cell(cells[column], best, apart, root) if column in cells else None
                for column in columns
            ),
        )

    def _found_thumb(self, kind: str, row: int, root: str) -> Thumb:
        """An input by what any item of its row knows of it."""
        grid = self._grid
        members = range(int(grid.starts[row]), int(grid.starts[row + 1]))
        return self._thumb_of(kind, members, root)

    def _thumb_of(self, kind: str, members: Sequence[int], root: str) -> Thumb:
        items = self._items
        title = _text(items.facets[kind].at(members[0]))
        found = (
            (item, stem)
            for item in members
            if (stem := items.paths[f"{kind}_preview"].at(item)) is not None
        )
        src = None
        for item, stem in found:
            end = "-256.webp" if items.has_small_previews else ".jpg"
            src = f"{self._base(item, root)}{str(stem).split()[0]}{end}"
            break
        return Thumb(name=readable(title), title=title, src=src)

    def _base(self, item: int, root: str) -> str:
        return root + self._sources[int(self._items.run[item])].base

    def _found_apart(self, row: int) -> list[Facet]:
        """The fields in which pictures of a row differ that share a column."""
        grid = self._grid
        if grid.heights[grid.row_patterns[row]] == 1:
            return []
        members = slice(int(grid.starts[row]), int(grid.starts[row + 1]))
        return [
            facet
            for name, facet in self._items.facets.items()
            if facet.field.role in _APART_ROLES
            and name not in (*grid.row, grid.column)
            and len(set(facet.codes[members].tolist())) > 1
        ]

    def _cell(
        self, item: int, best: Mapping[str, Value], apart: Sequence[Facet], root: str
    ) -> Cell:
        items = self._items
        known = {**items.facets, "picture": items.paths["picture"]}
        facts = {name: facet.at(item) for name, facet in known.items()}
        picture, stem = facts["picture"], items.paths["thumb"].at(item)
        base = self._base(item, root)
        width, height = int(items.width[item]) or None, int(items.height[item]) or None
        href = f"{base}{picture}" if picture is not None else None
        thumb = f"{base}{stem}" if stem is not None and picture is not None else None
        return Cell(
            index=item,
            id=_text(facts["id"]),
            href=href,
            src=f"{thumb}-256.webp" if thumb else href,
            srcset=_srcset(thumb, width, height) if thumb and width and height else None,
            width=width,
            height=height,
            alt=self._alt(facts),
            apart=", ".join(_apart_text(facet, item) for facet in apart) or None,
            chips=tuple(
                Chip(title=title, text=chip_text(value), is_best=best.get(name) == value)
                for name, title in CHIPS.items()
                if isinstance(value := facts.get(name), int | float)
            ),
            reason=_reason(facts),
            error=_text(facts["error"]) if facts["error"] is not None else None,
        )

    def _alt(self, facts: Mapping[str, Value | None]) -> str:
        content, style = (readable(_text(facts[name])) for name in ("content", "style"))
        column = self._items.facets[self._grid.column].field
        alt = f"{content} in the style of {style}, {_text(facts['backbone'])}"
        if column.role in ("backbone", "input"):
            return alt
        return f"{alt}, {column.title} {_text(facts[column.name])}"


def _column_text(field: Field, value: Value | None) -> str:
    if value is None:
        return f"no {field.title}"
    match field.role:
        case "input":
            return readable(_text(value))
        case "backbone" | "run":
            return _text(value)
        case _:
            return f"{field.title} {chip_text(value) if isinstance(value, float) else _text(value)}"


def _apart_text(facet: Facet, item: int) -> str:
    value = facet.at(item)
    if value is None:
        return f"{facet.field.title}: {_NONE}"
    match facet.field.role:
        case "input":
            return readable(_text(value))
        case "backbone" | "run":
            return _text(value)
        case _:
            text = chip_text(value) if isinstance(value, int | float) else _text(value)
            return f"{facet.field.title}: {text}"


def _reason(facts: Mapping[str, Value | None]) -> str | None:
    """Why there is no picture, or None."""
    if facts["status"] == WAITING:
        return WAITING
    if facts["status"] == "failed":
        return str(facts["reason"] or "failed").replace("_", " ")
    return None if facts["picture"] is not None else "no picture"


def _shorten(lines: list[Line], *, is_wall: bool) -> bool:
    """Take the last line away, or half of a wall's pictures; whether there was more than one."""
    if not is_wall and len(lines) > 1:
        lines.pop()
        return True
    if not is_wall or len(lines[0].cells) < 2:
        return False
    lines[0] = replace(lines[0], cells=lines[0].cells[: len(lines[0].cells) // 2])
    return True


def _srcset(thumb: str, width: int, height: int) -> str:
    """The thumbnails with the width that each really has."""

    def scaled(edge_px: int) -> int:
        longest = max(width, height)
        return width if longest <= edge_px else max(1, round(width * edge_px / longest))

    small = f"{thumb}-256.webp {scaled(_THUMB_PX)}w"
    if max(width, height) <= _THUMB_PX:
        return small
    return f"{small}, {thumb}-512.webp {scaled(_LARGE_THUMB_PX)}w"


def _text(value: Value | None) -> str:
    match value:
        case None:
            return _NONE
        case str():
            return value
        case _:
            return number_text(value)
