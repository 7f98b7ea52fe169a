"""Metadata of runs -> the files of a static gallery, one by one: data, assets, pages, the page.

All texts are in memory before the first file is made, and looked through for credentials, so that
a gallery is refused whole. Loss curves, most of the metadata, are read as they are written.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

import minify
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from nst import __version__, datafiles, output, tables
from nst.errors import ConfigError
from nst.facets import DETAIL_ITEMS, Facet, Items, Source, Value, first_rows, read_items, rounded
from nst.fields import ALWAYS
from nst.matrix import Matrix, arrange, cells_of, lines_of
from nst.redaction import secret_in
from nst.tables import Coded, Nested
from nst.texts import chip_text, number_text, readable, shown_text, told_apart, visible

__all__ = ["Source", "build", "digest_of", "is_own", "receipt"]

RECEIPT = "data/build.json"
FOLDERS = ("data", "assets", "pages")

_CSS = ("gallery.css",)
_LARGE_CSS = ("large.css",)
_GRID = (
    "codec.js",
    "store.js",
    "format.js",
    "query.js",
    "pivot.js",
    "link.js",
    "dom.js",
    "cells.js",
    "grid.js",
    "toolbar.js",
    "app.js",
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
    "large.js",
    "export.js",
    "help.js",
)

_TITLE = "Style transfers"
_NUM_FIRST_LINES = 4
_MAX_INDEX_BYTES = 10_240
_MAX_FIRST_COLUMNS = 8
_PAGE_LINES = 100
# Beyond this many pictures, pages for readers without scripts are made only if asked for.
_MAX_STATIC_ITEMS = 2000
_BUFFERED = 1000
_NONE = "none"
_CHIPS = {"style_loss": "style", "content_loss": "content", "lpips": "LPIPS"}
_THUMB_PX = 256
_LARGE_THUMB_PX = 512

_OWN = re.compile(
    r"data/(build\.json|(spine|rows-\d+|col-\d+|detail-\d+)\.[0-9a-f]{8}\.js)"
    r"|assets/((gallery|large)\.[0-9a-f]{8}\.(css|js)|gallery\.(css|js))"
    r"|pages/\d+\.html"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumb:
    """An input as a page shows it; `src` is None where no preview of it was made."""

    name: str
    title: str
    src: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A measurement under a picture. `is_best` where no other of its line is lower."""

    title: str
    text: str
    is_best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One picture, or why there is none. `href` and `src` are URLs from where the page lies."""

    index: int
    id: str
    href: str | None
    src: str | None
    srcset: str | None
    width: int | None
    height: int | None
    alt: str
    chips: tuple[Chip, ...]
    reason: str | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the matrix: the inputs, what else its row is told by, and a cell for each column."""

    number: int
    is_first: bool
    content: Thumb
    style: Thumb
    facts: tuple[tuple[str, str], ...]
    cells: tuple[Cell | None, ...]


def build(
    sources: Sequence[Source], *, static_pages: bool | None = None
) -> Iterator[tuple[str, bytes]]:
    """The files of the gallery of these runs by their paths in it, `index.html` the last of them.

    The same runs give the same files. Raises ConfigError, before the first of them, for bytes that
    are no metadata and for a text that holds a credential.
    """
    found = read_items(sources)
    matrix = arrange(found, num_runs=len(sources))
    items = found.in_order(matrix.order)
    _refuse_secrets(sources, items)
    named: dict[str, str] = {}

    def data_file(key: str, content: Mapping[str, Any]) -> tuple[str, bytes]:
        data = datafiles.encoded(key, content)
        path = named[key] = datafiles.path_of(key, data)
        return path, data

    shown = [facet for facet in items.facets.values() if _is_shown(facet)]
    chunks = _chunks(items, shown)
    for number, content in enumerate(chunks):
        yield data_file(f"rows-{number:04d}", content)
    for number, content in enumerate(_details(sources)):
        yield data_file(f"detail-{number:04d}", content)
    for index, facet in enumerate(shown):
        if facet.varies:
            yield data_file(f"col-{index}", datafiles.column(facet.values, facet.codes))
    yield data_file("spine", _spine_content(sources, items, matrix, shown, named))
    assets = _assets()
    yield from assets.values()
    page = _Pages(
        sources, items, matrix, named["spine"], {k: path for k, (path, _) in assets.items()}
    )
    if static_pages or (static_pages is None and len(items) <= _MAX_STATIC_ITEMS):
        yield from page.static_pages()
        yield output.GALLERY, page.first(num_static=page.num_pages)
    else:
        yield output.GALLERY, page.first(num_static=0)


def digest_of(sources: Sequence[Source], *, static_pages: bool | None = None) -> str:
    """What changes whenever `build` would make other files of the runs."""
    inputs = [
        __version__,
        static_pages,
        [
            [each.name, each.base, hashlib.sha256(each.metadata).hexdigest(), sorted(each.previews)]
            for each in sources
        ],
        [hashlib.sha256(each.read_bytes()).hexdigest() for each in _package_files()],
    ]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def receipt(digest: str, sizes: Mapping[str, int]) -> bytes:
    """The file that says what a gallery was built from, and of which files of how many bytes it is."""
    return json.dumps({"digest": digest, "files": dict(sorted(sizes.items()))}, indent=1).encode()


def read_receipt(data: bytes) -> tuple[str, dict[str, int]]:
    """What `receipt` wrote; nothing of anything else."""
    try:
        found = json.loads(data)
        return str(found["digest"]), {str(k): int(v) for k, v in found["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", {}


def is_hashed(path: str) -> bool:
    """Whether the name of a file changes with its bytes."""
    return path.startswith(("data/", "assets/")) and path != RECEIPT


def is_own(path: str) -> bool:
    """Whether a path in a gallery is that of a file which only a gallery's builder writes."""
    return bool(_OWN.fullmatch(path))


def shown_pictures(data: bytes) -> set[str]:
    """The pictures that a file of rows shows, by their paths. Raises ValueError for anything else."""
    _, content = datafiles.decoded(data)
    try:
        return {unquote(str(each)) for each in content["picture"]["values"]}
    except (KeyError, TypeError) as exc:
        raise ValueError(f"expected rows of a gallery, found {exc}") from exc


def chunk_paths(spine: bytes) -> list[str]:
    """Where the files of rows of a gallery are, by its spine. Raises ValueError for anything else."""
    _, content = datafiles.decoded(spine)
    try:
        return [f"data/rows-{n:04d}.{h}.js" for n, h in enumerate(content["chunks"])]
    except (KeyError, TypeError) as exc:
        raise ValueError(f"expected the spine of a gallery, found {exc}") from exc


def _is_shown(facet: Facet) -> bool:
    return len(facet.values) > 0 or facet.field.name in ALWAYS


def _chunks(items: Items, shown: Sequence[Facet]) -> Iterator[dict[str, Any]]:
    """What is known of each CHUNK_ITEMS items, but for what is the same for all."""

    def columns(facets: Iterable[tuple[str, Facet]]) -> dict[str, tuple[Any, Any]]:
        return {name: (np.array(each.values, object), each.codes) for name, each in facets}

    varying = columns((str(i), facet) for i, facet in enumerate(shown) if facet.varies)
    places = columns(items.places.items())
    for first in range(0, len(items), datafiles.CHUNK_ITEMS):
        part = slice(first, first + datafiles.CHUNK_ITEMS)
        yield {
            "first": first,
            "count": len(items.run[part]),
            "fields": {
                name: datafiles.part_of_column(values, codes[part])
                for name, (values, codes) in varying.items()
            },
            **{
                name: datafiles.part_of_column(values, codes[part])
                for name, (values, codes) in places.items()
            },
            "height": items.height[part],
            "width": items.width[part],
            "run": items.run[part],
            "detail": items.source[part],
        }


def _details(sources: Sequence[Source]) -> Iterator[dict[str, Any]]:
    """The curves and layer losses of each DETAIL_ITEMS rows of the runs, in their order."""
    first = 0
    for source in sources:
        for lists in tables.nested_columns(
            source.metadata, ("loss_curve", "style_layer_losses"), DETAIL_ITEMS
        ):
            yield {
                "first": first,
                **_curves(lists.get("loss_curve")),
                "layers": _layers(lists.get("style_layer_losses")),
            }
            first += DETAIL_ITEMS


def _curves(lists: Nested | None) -> dict[str, Any]:
    if lists is None:
        return datafiles.curves(np.zeros(1, np.int64), np.zeros(0), {})
    losses = {name: lists.items[name] for name in datafiles.CURVES if name in lists.items}
    return datafiles.curves(
        lists.offsets,
        _numbers(lists.items["evaluation"]),
        {name: _numbers(each) for name, each in losses.items()},
    )


def _numbers(values: Coded | Any) -> Any:
    if isinstance(values, Coded):
        raise ConfigError("expected numbers in the loss curves of the metadata, found texts")
    return values


def _layers(lists: Nested | None) -> list[list[list[Any]]]:
    if lists is None:
        return []
    names = lists.items["layer"]
    assert isinstance(names, Coded)
    shown = [visible(str(name)) for name in names.values]
    layers = [shown[code] for code in names.codes.tolist()]
    losses = rounded(_numbers(lists.items["loss"]).astype(np.float64))
    known = [loss if np.isfinite(loss) else None for loss in losses.tolist()]
    pairs = [[layer, loss] for layer, loss in zip(layers, known, strict=True)]
    bounds = lists.offsets.tolist()
    return [pairs[start:stop] for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]


def _spine_content(
    sources: Sequence[Source],
    items: Items,
    matrix: Matrix,
    shown: Sequence[Facet],
    named: Mapping[str, str],
) -> dict[str, Any]:
    def hashes(start: str) -> list[str]:
        return [path.split(".")[1] for key, path in named.items() if key.startswith(start)]

    return {
        "version": 1,
        "num_items": len(items),
        "num_failed": int(np.count_nonzero(_is_failed(items))),
        "num_manifest_rows": items.num_rows,
        "chunk_items": datafiles.CHUNK_ITEMS,
        "detail_items": DETAIL_ITEMS,
        "chunks": hashes("rows-"),
        "details": hashes("detail-"),
        "small_previews": items.has_small_previews,
        "runs": [
            {"name": name, "base": source.base}
            for name, source in zip(_run_names(sources), sources, strict=True)
        ],
        "metadata": [source.base + output.METADATA for source in sources],
        "fields": [_field_content(index, facet, named) for index, facet in enumerate(shown)],
        "row": matrix.row,
        "column": matrix.column,
        "columns": matrix.columns,
        "patterns": matrix.patterns,
        "row_patterns": datafiles.smallest(matrix.row_patterns, max(len(matrix.patterns) - 1, 0)),
        "num_lines": matrix.num_lines,
        "run_diff": [{"name": name, "values": values} for name, values in matrix.run_diff.items()],
        "num_unmatched": matrix.num_unmatched,
    }


def _field_content(index: int, facet: Facet, named: Mapping[str, str]) -> dict[str, Any]:
    field = facet.field
    content: dict[str, Any] = {
        "name": field.name,
        "title": field.title,
        "role": field.role,
        "kind": facet.kind,
        "better": field.better,
        "size": len(facet.values),
        "missing": facet.num_missing,
    }
    if field.description:
        content["description"] = field.description
    if facet.varies:
        content["hash"] = named[f"col-{index}"].split(".")[1]
    else:
        content["value"] = facet.values[0] if facet.values else None
    return content


def _is_failed(items: Items) -> Any:
    status = items.facets["status"]
    if "failed" not in status.values:
        return np.zeros(len(items), bool)
    return status.codes == list(status.values).index("failed")


def _run_names(sources: Sequence[Source]) -> list[str]:
    return told_apart(shown_text(source.name) for source in sources)


def _refuse_secrets(sources: Sequence[Source], items: Items) -> None:
    """Raises ConfigError where a text that goes into the gallery holds what opens a store."""
    row = items.facets["row"]
    for facet in (*items.facets.values(), *items.places.values()):
        texts = [value for value in facet.values if isinstance(value, str)]
        # Whatever breaks a line is spelt out in each of them, so that all are searched at once.
        if facet.kind == "number" or secret_in(unquote("\n".join(texts))) is None:
            continue
        for code, text in enumerate(texts):
            kind = secret_in(text) or secret_in(unquote(text))
            if kind is not None:
                item = int(np.flatnonzero(facet.codes == code)[0])
                where = f"row {row.at(item)}"
                if len(sources) > 1:
                    where += f" of run {int(items.run[item]) + 1}"
                raise _refusal(f"{where}, {_field_place(items, facet)}", kind)
    others = [
        *(
            (f"the title of label {n}", f.field.title)
            for n, f in enumerate(items.facets.values(), 1)
        ),
        *((f"the name of run {n}", name) for n, name in enumerate(_run_names(sources), 1)),
        *((f"the place of run {n}", unquote(each.base)) for n, each in enumerate(sources, 1)),
        *(("style_layer_losses", name) for name in _layer_names(sources)),
    ]
    for place, text in others:
        kind = secret_in(text)
        if kind is not None:
            raise _refusal(place, kind)


def _field_place(items: Items, facet: Facet) -> str:
    name = facet.field.name
    if secret_in(name) is None:
        return name
    return f"field {list(items.facets).index(name) + 1}"


def _refusal(place: str, kind: str) -> ConfigError:
    return ConfigError(
        f"{place}: expected no credentials in what a gallery shows, found {kind}; take it out of "
        "the manifest, run it again, and change whatever it opens. The gallery is as it was"
    )


def _layer_names(sources: Sequence[Source]) -> set[str]:
    return {
        name
        for source in sources
        for name in tables.nested_texts(source.metadata, "style_layer_losses", "layer")
    }


def _package_files() -> list[Any]:
    package = files("nst")
    found = [
        each
        for folder in ("assets", "templates")
        for each in (package / folder).iterdir()
        if each.is_file()
    ]
    return sorted(found, key=lambda each: each.name)


def _assets() -> dict[str, tuple[str, bytes]]:
    """The style sheet and the scripts of the page, each of one file."""

    def text_of(kind: str, names: Iterable[str]) -> bytes:
        texts = [(files("nst") / "assets" / name).read_text(encoding="utf-8") for name in names]
        return minify.string(kind, "\n".join(texts)).encode()

    made = {
        "css": ("gallery", "css", text_of("text/css", _CSS)),
        "js": ("gallery", "js", text_of("application/javascript", _GRID)),
        "large": ("large", "js", text_of("application/javascript", _LARGE)),
        "large_css": ("large", "css", text_of("text/css", _LARGE_CSS)),
    }
    return {
        kind: (f"assets/{name}.{datafiles.hash8(data)}.{suffix}", data)
        for kind, (name, suffix, data) in made.items()
    }


class _Pages:
    """The pages of one gallery, which differ in the lines that they have."""

    def __init__(
        self,
        sources: Sequence[Source],
        items: Items,
        matrix: Matrix,
        spine: str,
        assets: Mapping[str, str],
    ) -> None:
        self._sources = sources
        self._items = items
        self._matrix = matrix
        self._links = {**assets, "spine": spine}
        self._run_names = tuple(_run_names(sources)) if len(sources) > 1 else ()
        self._columns = [_text(value) for value in matrix.columns]
        self._environment = Environment(
            loader=PackageLoader("nst"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    @property
    def num_pages(self) -> int:
        return -(-self._matrix.num_lines // _PAGE_LINES)

    def first(self, *, num_static: int) -> bytes:
        """`index.html`, with as many of its first lines as keep it small."""
        places = [place for place, _ in zip(lines_of(self._matrix), range(_NUM_FIRST_LINES), strict=False)]
        lines = [
            self._line(number, *place, root="", num_columns=_MAX_FIRST_COLUMNS)
            for number, place in enumerate(places)
        ]
        while True:
            page = self._rendered(
                "gallery.html.j2",
                root="",
                lines=lines,
                columns=self._columns[:_MAX_FIRST_COLUMNS],
                num_static=num_static,
            )
            if len(page) <= _MAX_INDEX_BYTES or len(lines) <= 1:
                return page
            lines.pop()

    def static_pages(self) -> Iterator[tuple[str, bytes]]:
        """`pages/1.html` and so on, with every line and every column."""
        places = list(lines_of(self._matrix))
        for page in range(self.num_pages):
            first = page * _PAGE_LINES
            lines = [
                self._line(number, *place, root="../", num_columns=len(self._columns))
                for number, place in enumerate(places[first : first + _PAGE_LINES], first)
            ]
            data = self._rendered(
                "page.html.j2",
                root="../",
                lines=lines,
                columns=self._columns,
                num_static=self.num_pages,
                page=page + 1,
                num_pages=self.num_pages,
            )
            yield f"pages/{page + 1}.html", data

    def _rendered(self, template: str, *, root: str, lines: list[Line], **values: Any) -> bytes:
        items, matrix = self._items, self._matrix
        num_failed = int(np.count_nonzero(_is_failed(items)))
        title = items.facets[matrix.column].field.title
        stream = self._environment.get_template(template).stream(
            title=_TITLE,
            num_items=len(items),
            num_ok=len(items) - num_failed,
            num_failed=num_failed,
            num_lines=matrix.num_lines,
            num_rows=len(matrix.row_patterns),
            num_unmatched=matrix.num_unmatched,
            run_names=self._run_names,
            root=root,
            column_title=title,
            column_fields=title,
            row_titles=[items.facets[name].field.title for name in matrix.row],
            num_columns=len(self._columns),
            lines=lines,
            first_line=lines[0].number if lines else 0,
            metadata=[
                (name or output.METADATA, root + source.base + output.METADATA)
                for name, source in zip(self._run_names or ("",), self._sources, strict=True)
            ],
            **{name: root + path for name, path in self._links.items()},
            **values,
        )
        # Else every word of it is a string of its own for a moment, at four times the page's size.
        stream.enable_buffering(_BUFFERED)
        return minify.string("text/html", "".join(stream)).encode()

    def _line(self, number: int, row: int, within: int, *, root: str, num_columns: int) -> Line:
        matrix, items = self._matrix, self._items
        first = int(matrix.starts[row])
        cells = cells_of(matrix, row, within)
        best = _best(items, [cell for cell in cells if cell is not None])
        return Line(
            number=number,
            is_first=within == 0,
            content=self._thumb("content", row, root),
            style=self._thumb("style", row, root),
            facts=tuple(
                (items.facets[name].field.title, _text(items.facets[name].at(first)))
                for name in matrix.row[2:]
            ),
            cells=tuple(
                self._cell(cell, best, root) if cell is not None else None
                for cell in cells[:num_columns]
            ),
        )

    def _thumb(self, kind: str, row: int, root: str) -> Thumb:
        """An input by what any item of its row knows of it."""
        items, matrix = self._items, self._matrix
        members = range(int(matrix.starts[row]), int(matrix.starts[row + 1]))
        title = _text(items.facets[kind].at(members[0]))
        found = (
            (item, stem)
            for item in members
            if (stem := items.places[f"{kind}_preview"].at(item)) is not None
        )
        src = None
        for item, stem in found:
            end = "-256.webp" if items.has_small_previews else ".jpg"
            src = f"{self._base(item, root)}{str(stem).split()[0]}{end}"
            break
        return Thumb(name=readable(title), title=title, src=src)

    def _base(self, item: int, root: str) -> str:
        return root + self._sources[int(self._items.run[item])].base

    def _cell(self, item: int, best: Mapping[str, Value], root: str) -> Cell:
        items = self._items
        facts = {name: items.facets[name].at(item) for name in items.facets}
        picture, stem = items.places["picture"].at(item), items.places["thumb"].at(item)
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
            chips=tuple(
                Chip(title=title, text=chip_text(value), is_best=best.get(name) == value)
                for name, title in _CHIPS.items()
                if isinstance(value := facts.get(name), int | float)
            ),
            reason=str(facts["reason"] or "failed").replace("_", " ")
            if facts["status"] == "failed"
            else None,
            error=_text(facts["error"]) if facts["error"] is not None else None,
        )

    def _alt(self, facts: Mapping[str, Value | None]) -> str:
        content, style = (readable(_text(facts[name])) for name in ("content", "style"))
        column = self._items.facets[self._matrix.column].field
        alt = f"{content} in the style of {style}, {_text(facts['backbone'])}"
        if column.role == "backbone":
            return alt
        return f"{alt}, {column.title} {_text(facts[column.name])}"


def _best(items: Items, cells: Sequence[int]) -> dict[str, Value]:
    """The lowest of each measurement that at least two of the cells have."""
    found = {}
    for name in _CHIPS:
        values = [value for cell in cells if (value := items.facets[name].at(cell)) is not None]
        if len(values) > 1:
            found[name] = min(values)
    return found


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
