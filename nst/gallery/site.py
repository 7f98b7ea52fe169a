"""Metadata of runs -> the files of a static gallery, one by one: data, assets, pages, the page.

Every text goes through `texts`, which hides credentials. Loss curves, most of the metadata, are read
as they are written.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

import numpy as np

from nst import __version__, output
from nst.errors import ConfigError
from nst.gallery import codec
from nst.gallery.facets import DETAIL_ITEMS, Facet, Items, Source, read_items, rounded
from nst.gallery.fields import ALWAYS
from nst.gallery.figures import spans_of
from nst.gallery.pages import Pages, assets_of_pages, is_failed, run_names
from nst.gallery.pivot import Grid, arrange
from nst.gallery.summary import summary_of
from nst.gallery.texts import shown_name
from nst.gallery.votes import Voter, facets_of, page_content, to_json
from nst.storage import Coded, Nested, digest_of_file, tables

RECEIPT = "data/build.json"
# How far a run is, which an open page of it asks for again and again; in no receipt.
LIVE = "data/live.js"
FOLDERS = ("data", "assets", "pages")

# Beyond this many pictures, pages for readers without scripts are made only if asked for.
_MAX_STATIC_ITEMS = 2000

_OWN = re.compile(
    r"data/(build\.json|live\.js|(spine|rows-\d+|col-\d+|detail-\d+|votes)\.[0-9a-f]{8}\.js)"
    r"|assets/((gallery|controls|large|tools|live)\.[0-9a-f]{8}\.(css|js)|gallery\.(css|js))"
    r"|pages/\d+\.html"
)


def build(
    sources: Sequence[Source],
    *,
    static_pages: bool | None = None,
    voters: Sequence[Voter] = (),
    live: Mapping[str, Any] | None = None,
) -> Iterator[tuple[str, bytes]]:
    """The files of the gallery of these runs by their paths in it, `index.html` the last of them.

    With `live`, how far a run is that goes on, the page says so, and asks for more; it has no plain
    pages then. The same runs give the same files. Raises ConfigError for bytes that are no metadata, before the
    first of them.
    """
    found = read_items(sources)
    grid = arrange(found, num_runs=len(sources))
    items = found.in_order(grid.order)
    # Of a million items it is a fifth of a gigabyte.
    del found
    if voters:
        items = replace(items, facets=items.facets | facets_of(voters, items))
    named: dict[str, str] = {}

    def data_file(key: str, content: Mapping[str, Any]) -> tuple[str, bytes]:
        data = codec.encoded(key, content)
        path = named[key] = codec.path_of(key, data)
        return path, data

    shown = [facet for facet in items.facets.values() if _is_shown(facet)]
    for number, content in enumerate(_chunks(items, shown)):
        yield data_file(f"rows-{number:04d}", content)
    for number, content in enumerate(_details(sources)):
        yield data_file(f"detail-{number:04d}", content)
    for index, facet in enumerate(shown):
        if facet.varies:
            yield data_file(f"col-{index}", codec.column(facet.values, facet.codes))
    if any(each.votes for each in voters):
        yield data_file("votes", page_content(voters))
    spans = spans_of(items, grid)
    spine = _spine_content(sources, items, grid, shown, named)
    yield data_file("spine", spine | {"spans": spans})
    assets = assets_of_pages(is_live=live is not None)
    yield from assets.values()
    paths = {kind: path for kind, (path, _) in assets.items()}
    summary = summary_of(items, run_names(sources))
    page = Pages(sources, items, grid, summary, spans, named["spine"], paths, live)
    if live is not None:
        yield output.GALLERY, page.first(num_static=0)
    elif static_pages or (static_pages is None and len(items) <= _MAX_STATIC_ITEMS):
        yield from page.static_pages()
        yield output.GALLERY, page.first(num_static=page.num_pages)
    else:
        yield output.GALLERY, page.first(num_static=0)


def digest_of(
    sources: Sequence[Source],
    *,
    static_pages: bool | None = None,
    voters: Sequence[Voter] = (),
) -> str:
    """What changes whenever `build` would make other files of the runs."""
    inputs = [
        __version__,
        static_pages,
        [
            [
                each.name,
                each.base,
                digest_of_file(each.metadata),
                sorted(each.previews),
                sorted(each.thumbnails),
            ]
            for each in sources
        ],
        [hashlib.sha256(each.read_bytes()).hexdigest() for each in _package_files()],
        hashlib.sha256(to_json(voters)).hexdigest() if voters else None,
    ]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def live_file(spine: str, told: Mapping[str, Any]) -> bytes:
    """What LIVE has: the data of the page as it is now, and how far the run is."""
    text = json.dumps({"spine": spine, **told}, separators=(",", ":"))
    # Nothing in it can end a script.
    return b"nstLive(%s);\n" % text.replace("<", "\\u003c").encode()


def receipt(digest: str, sizes: Mapping[str, int], digests: Mapping[str, str]) -> bytes:
    """The file that says what a gallery was built from, and of which files it is.

    These are told by their bytes' number and sha256.
    """
    told = {
        "digest": digest,
        "files": dict(sorted(sizes.items())),
        "sha256": dict(sorted(digests.items())),
    }
    return json.dumps(told, indent=1).encode()


def read_receipt(data: bytes) -> tuple[str, dict[str, int]]:
    """What `receipt` wrote; nothing of anything else."""
    try:
        found = json.loads(data)
        return str(found["digest"]), {str(k): int(v) for k, v in found["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", {}


def digests_in_receipt(data: bytes) -> dict[str, str]:
    """The sha256 of each file in a receipt; none in one of releases up to 0.2.0."""
    try:
        return {str(k): str(v) for k, v in json.loads(data).get("sha256", {}).items()}
    except (ValueError, AttributeError):
        return {}


def is_hashed(path: str) -> bool:
    """Whether the name of a file changes with its bytes."""
    return path.startswith(("data/", "assets/")) and path not in (RECEIPT, LIVE)


def is_whole(path: str, data: bytes) -> bool:
    """Whether a file is the one of its name, as far as its name tells."""
    return not is_hashed(path) or path.split(".")[-2] == codec.hash8(data)


def is_stale(path: str, data: bytes | None) -> bool:
    """Whether a file that no gallery names any more was written by a gallery's builder.

    By its name, if that has a digest, or by its bytes, which are None where they are not known.
    """
    is_named_by_digest = is_hashed(path) and path.count(".") > 1
    return is_own(path) and (is_named_by_digest or output.is_page(data or b""))


def is_own(path: str) -> bool:
    """Whether a path in a gallery is that of a file which only a gallery's builder writes."""
    return bool(_OWN.fullmatch(path))


def shown_pictures(data: bytes) -> set[str]:
    """The pictures that a file of rows shows, by their paths. Raises ValueError for anything else."""
    _, content = codec.decoded(data)
    try:
        return {unquote(str(each)) for each in content["picture"]["values"]}
    except (KeyError, TypeError) as exc:
        raise ValueError(f"expected rows of a gallery, found {exc}") from exc


def chunk_paths(spine: bytes) -> list[str]:
    """Where the files of rows of a gallery are, by its spine. Raises ValueError for anything else."""
    _, content = codec.decoded(spine)
    try:
        hashes = [
            each if isinstance(each, str) else f"{each:08x}" for each in list(content["chunks"])
        ]
        return [f"data/rows-{n:04d}.{each}.js" for n, each in enumerate(hashes)]
    except (KeyError, TypeError) as exc:
        raise ValueError(f"expected the spine of a gallery, found {exc}") from exc


def _is_shown(facet: Facet) -> bool:
    return len(facet.values) > 0 or facet.field.name in ALWAYS


def _chunks(items: Items, shown: Sequence[Facet]) -> Iterator[dict[str, Any]]:
    """What is known of each CHUNK_ITEMS items, but for what is the same for all."""

    def columns(facets: Iterable[tuple[str, Facet]]) -> dict[str, tuple[Any, Any]]:
        return {name: (np.array(each.values, object), each.codes) for name, each in facets}

    varying = columns((str(i), facet) for i, facet in enumerate(shown) if facet.varies)
    paths = columns(items.paths.items())
    for first in range(0, len(items), codec.CHUNK_ITEMS):
        some = slice(first, first + codec.CHUNK_ITEMS)
        yield {
            "first": first,
            "count": len(items.run[some]),
            "fields": {
                name: codec.column_of_some(values, codes[some])
                for name, (values, codes) in varying.items()
            },
            **{
                name: codec.column_of_some(values, codes[some])
                for name, (values, codes) in paths.items()
            },
            "height": items.height[some],
            "width": items.width[some],
            "run": items.run[some],
            "detail": items.source[some],
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
        return codec.curves(np.zeros(1, np.int64), np.zeros(0), {})
    losses = {name: lists.items[name] for name in codec.CURVES if name in lists.items}
    return codec.curves(
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
    shown = [shown_name(str(name)) for name in names.values]
    layers = [shown[code] for code in names.codes.tolist()]
    losses = rounded(_numbers(lists.items["loss"]).astype(np.float64))
    known = [loss if np.isfinite(loss) else None for loss in losses.tolist()]
    pairs = [[layer, loss] for layer, loss in zip(layers, known, strict=True)]
    bounds = lists.offsets.tolist()
    return [pairs[start:stop] for start, stop in pairwise(bounds)]


def _spine_content(
    sources: Sequence[Source],
    items: Items,
    grid: Grid,
    shown: Sequence[Facet],
    named: Mapping[str, str],
) -> dict[str, Any]:
    def hashes(start: str) -> list[str]:
        return [path.split(".")[1] for key, path in named.items() if key.startswith(start)]

    def as_numbers(start: str) -> Any:
        """In half the bytes: of many pictures they are most of the spine."""
        return np.array([int(each, 16) for each in hashes(start)], np.uint32)

    return {
        "version": 1,
        "num_items": len(items),
        "num_failed": int(np.count_nonzero(is_failed(items))),
        "num_manifest_rows": items.num_rows,
        "chunk_items": codec.CHUNK_ITEMS,
        "detail_items": DETAIL_ITEMS,
        "chunks": as_numbers("rows-"),
        "details": as_numbers("detail-"),
        "small_previews": items.has_small_previews,
        "runs": [
            {"name": name, "base": source.base}
            for name, source in zip(run_names(sources), sources, strict=True)
        ],
        "metadata": [source.base + output.METADATA for source in sources],
        "fields": [_field_content(index, facet, named) for index, facet in enumerate(shown)],
        "row": grid.row,
        "column": grid.column,
        "columns": grid.columns,
        "layout": grid.layout,
        "patterns": grid.patterns,
        "row_patterns": codec.smallest(grid.row_patterns, max(len(grid.patterns) - 1, 0)),
        "num_lines": grid.num_lines,
        "run_diff": [{"name": name, "values": values} for name, values in grid.run_diff.items()],
        "num_unmatched": grid.num_unmatched,
        **({"votes": each} if (each := "".join(hashes("votes"))) else {}),
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
    if field.is_axis and facet.varies:
        content["axis"] = True
    if field.is_decisive and facet.varies:
        content["decisive"] = True
    if facet.varies:
        content["hash"] = named[f"col-{index}"].split(".")[1]
    else:
        content["value"] = facet.values[0] if facet.values else None
    return content


def _package_files() -> list[Any]:
    package = files("nst.gallery")
    found = [
        each
        for folder in ("assets", "templates")
        for each in (package / folder).iterdir()
        if each.is_file()
    ]
    return sorted(found, key=lambda each: each.name)
