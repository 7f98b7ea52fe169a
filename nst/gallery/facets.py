"""Metadata tables of runs -> dictionary-coded columns of all items, with texts as a page shows them.

An item is a picture or a failure: rows of one run that share an id are one.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import IO, Any, Literal, TypeAlias
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from nst import output
from nst.errors import ConfigError
from nst.gallery.fields import KEPT, MANIFEST, RUN, Field, fields_of
from nst.gallery.texts import natural_key, shown_reference, shown_sentence, shown_text, told_apart
from nst.job import size_text
from nst.redaction import secret_in_url
from nst.storage import Coded, ColumnReader, TableError

# The details of each run begin at a multiple of this, in files of as many rows.
DETAIL_ITEMS = 250
# The run of an item is one byte.
MAX_RUNS = 255

Value: TypeAlias = str | int | float
Codes: TypeAlias = NDArray[np.int32]
# Of each field one for every item, so that a byte makes a difference.
SmallCodes: TypeAlias = NDArray[np.unsignedinteger[Any]]

# What JavaScript cannot tell from its neighbours.
_MAX_EXACT = 2**53
_DIGEST_LENGTH = 12
_DIGEST = re.compile(r"[0-9a-zA-Z]+")
_THUMBNAIL = re.compile(r"thumbs/[0-9a-f]{2}/[0-9a-f]{16}")
_COLOR = re.compile(r"#[0-9a-f]{6}")
_MAX_PX = 2**16 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A run. `base` leads from the gallery to its files: "" or "…/".

    `metadata` is an open file, since all of it is more than need be in memory. `previews` are the
    names of the files among its inputs. `thumbnails` are the paths of those that it has, where
    pictures may have some that the metadata does not name.
    """

    name: str
    base: str
    metadata: IO[bytes]
    previews: Set[str]
    thumbnails: Set[str] = frozenset()


# Without slots, for what is counted once.
@dataclass(frozen=True)
class Facet:
    """One field of all items: its distinct values, ascending, and which of them each item has.

    The code of a missing value is `len(values)`; of codes up to that the type is the smallest.
    """

    field: Field
    kind: Literal["number", "text"]
    values: Sequence[Value]
    codes: SmallCodes

    @cached_property
    def num_missing(self) -> int:
        return int(np.count_nonzero(self.codes == len(self.values)))

    @cached_property
    def varies(self) -> bool:
        return len(self.values) > 1 or (len(self.values) == 1 and self.num_missing > 0)

    def at(self, item: int) -> Value | None:
        """The value of an item."""
        code = self.codes[item]
        return self.values[code] if code < len(self.values) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """All items of all runs: what is known of each, and where its files are.

    `facets` and `paths` are by name, and in an order. `run` is the number of an item's run, and
    `source` its row among those of all runs, each run's first row a multiple of DETAIL_ITEMS.
    """

    facets: dict[str, Facet]
    paths: dict[str, Facet]
    run: NDArray[np.uint8]
    source: NDArray[np.uint32]
    height: NDArray[np.uint16]
    width: NDArray[np.uint16]
    num_rows: int
    has_small_previews: bool

    def __len__(self) -> int:
        return len(self.run)

    def in_order(self, order: NDArray[np.int64]) -> "Items":
        """The items with these numbers, in their order."""

        def taken(facets: dict[str, Facet]) -> dict[str, Facet]:
            return {n: replace(each, codes=each.codes[order]) for n, each in facets.items()}

        return replace(
            self,
            facets=taken(self.facets),
            paths=taken(self.paths),
            run=self.run[order],
            source=self.source[order],
            height=self.height[order],
            width=self.width[order],
        )


def read_items(sources: Sequence[Source]) -> Items:
    """The items of all runs, in the order of their rows. Raises ConfigError for no metadata."""
    if len(sources) > MAX_RUNS:
        raise ConfigError(f"expected at most {MAX_RUNS} runs to compare, found {len(sources)}")
    with _explained():
        return _items(sources, [ColumnReader(source.metadata) for source in sources])


def _items(sources: Sequence[Source], tables: Sequence[ColumnReader]) -> Items:
    own_ids = [each for table in tables if (each := table.read("id")) is not None]
    if len(own_ids) < len(tables):
        raise ConfigError("expected the metadata of a run, found a table without ids")
    lengths = [len(each.codes) for each in own_ids]
    run = np.repeat(np.arange(len(sources), dtype=np.uint8), lengths)
    ids = _together(own_ids, lengths).codes
    if np.any(ids < 0):
        raise ConfigError("expected an id in every row of the metadata, found a row without")
    pictures = _together([table.read("picture") for table in tables], lengths)
    rows = _first_of_each(run, ids, pictures.codes >= 0)
    named = _manifests(_together([t.read("manifest") for t in tables], lengths), run, ids, rows)
    del pictures
    run = run[rows]

    # One at a time, since the texts of a column are most of what it takes while they are both
    # as written and as shown.
    def column(name: str) -> Coded:
        if name == MANIFEST:
            return named
        found = [table.read(name) for table in tables]
        return _taken(_together(found, lengths), rows)

    names = dict.fromkeys(name for table in tables for name in table.names)
    facets = {
        field.name: _run_facet(sources, run)
        if field == RUN
        else _facet(field, column(field.column))
        for field in fields_of(names, has_runs=len(sources) > 1)
    }
    if RUN.name in facets:
        facets["id"] = _identities(facets[RUN.name], facets["id"])
    previews = {
        name: _stems(sources, run, _filled(column(f"{name}_digest"), column(name), run))
        for name in ("content", "style")
    }
    return Items(
        facets=facets,
        paths={
            "picture": _path_facet("picture", column("picture"), _picture),
            "thumb": _thumbnails(sources, run, column("thumbnail"), column("picture_digest")),
            "color": _path_facet("color", column("color"), _matching(_COLOR)),
            **{f"{name}_preview": each.facet(f"{name}_preview") for name, each in previews.items()},
        },
        run=run,
        source=_source_rows(lengths)[rows],
        height=_pixels(facets["height"]),
        width=_pixels(facets["width"]),
        num_rows=sum(lengths),
        has_small_previews=_has_small(sources, previews.values()),
    )


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except TableError as exc:
        raise ConfigError(f"expected the metadata of a run, found {exc}") from exc


def _source_rows(lengths: Sequence[int]) -> NDArray[np.uint32]:
    """The number of each row of all runs, as `first_rows` numbers them."""
    numbers = [
        np.arange(first, first + length, dtype=np.uint32)
        for first, length in zip(first_rows(lengths), lengths, strict=True)
    ]
    return np.concatenate(numbers or [np.zeros(0, np.uint32)])


def _has_small(sources: Sequence[Source], previews: Iterable["_Stems"]) -> bool:
    """Whether there is a small one of every preview that is used, and any is."""
    used = {(run, stem) for each in previews for run, stem in each.used}
    return bool(used) and all(f"{stem}-256.webp" in sources[run].previews for run, stem in used)


def lacks_thumbnails(table: IO[bytes]) -> bool:
    """Whether the metadata has a picture for which it names no thumbnail. Raises ConfigError."""
    with _explained():
        columns = ColumnReader(table)
        pictures, thumbnails = columns.read("picture"), columns.read("thumbnail")
        if pictures is None:
            return False
        is_named = thumbnails.codes >= 0 if thumbnails is not None else np.bool_(False)
        return bool(np.any((pictures.codes >= 0) & ~is_named))


def first_rows(lengths: Sequence[int]) -> list[int]:
    """The number, among the rows of all runs, of the first row of each run of so many."""
    firsts = [0]
    for length in lengths:
        firsts.append(firsts[-1] + -(-length // DETAIL_ITEMS) * DETAIL_ITEMS)
    return firsts[:-1]


def rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each number to four significant digits, as `float(f"{value:.4g}")` has it."""
    result = values.copy()
    is_known = np.isfinite(values) & (values != 0)
    known = values[is_known]
    power = 3 - np.floor(np.log10(np.abs(known))).astype(np.int64)
    scale = _POWERS[np.minimum(np.abs(power), len(_POWERS) - 1)]
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.where(power >= 0, known * scale, known / scale)
        whole = np.rint(scaled)
        # Both are exact, so that the quotient is the number next to the decimal one.
        near = np.where(power >= 0, whole / scale, whole * scale)
        is_unsure = np.abs(np.abs(scaled - whole) - 0.5) < 1e-6
    for i in np.flatnonzero(is_unsure | (np.abs(power) >= len(_POWERS))):
        near[i] = float(f"{known[i]:.4g}")
    result[is_known] = near
    # Without the sign of a zero.
    return result + 0.0


# Those powers of ten that a double holds exactly.
_POWERS = np.array([float(f"1e{power}") for power in range(23)])


def _first_of_each(
    run: NDArray[np.uint8], ids: Codes, has_picture: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The first row of each run and id that has its picture, else its first, in the rows' order."""
    # Stable, so that of those with a picture the first comes first.
    order = np.argsort(~has_picture, kind="stable")
    firsts = np.unique(_keys(run, ids)[order], return_index=True)[1]
    return np.sort(order[firsts])


def _keys(run: NDArray[np.uint8], ids: Codes) -> NDArray[np.int64]:
    return run.astype(np.int64) * (int(ids.max(initial=0)) + 1) + ids


def _manifests(names: Coded, run: NDArray[np.uint8], ids: Codes, rows: NDArray[np.int64]) -> Coded:
    """The manifest of each item, by the rows that are items; all of them where several name it."""
    keys = _keys(run, ids)
    codes = names.codes[rows]
    items = np.argsort(keys[rows])
    others = np.setdiff1d(np.arange(len(keys)), rows)
    others = others[names.codes[others] >= 0]
    of_item = items[np.searchsorted(keys[rows], keys[others], sorter=items)]
    shared: dict[int, dict[int, None]] = {}
    for item, code in zip(of_item.tolist(), names.codes[others].tolist(), strict=True):
        shared.setdefault(item, dict.fromkeys(codes[item : item + 1].tolist()))[code] = None
    values = [str(value) for value in names.values]
    code_of: dict[str, int] = {value: code for code, value in enumerate(values)}
    for item, several in shared.items():
        # As several styles are written, which a text without bars is not taken for.
        text = " | ".join(sorted(values[code] for code in several if code >= 0))
        codes[item] = code_of.setdefault(text, len(code_of))
    return _taken(Coded(list(code_of), codes), np.arange(len(codes)))


def _together(columns: Sequence[Coded | None], lengths: Sequence[int]) -> Coded:
    """The columns of several runs as one, whose values are texts where those of any are."""
    found = [
        each if each is not None else Coded([], np.full(length, -1, np.int32))
        for each, length in zip(columns, lengths, strict=True)
    ]
    if len(found) == 1:
        return found[0]
    filled = [one for one in found if len(one.values)]
    has_texts = any(isinstance(one.values, list) for one in filled)
    code_of: dict[Any, int] = {}
    codes = []
    for one in found:
        values = one.values if isinstance(one.values, list) else one.values.tolist()
        if has_texts:
            values = [str(value) for value in values]
        table = [code_of.setdefault(value, len(code_of)) for value in values]
        codes.append(np.array([*table, -1], np.int32)[one.codes])
    joined = np.concatenate(codes) if codes else np.zeros(0, np.int32)
    return Coded(list(code_of) if has_texts or not code_of else np.array(list(code_of)), joined)


def _taken(column: Coded, items: NDArray[np.int64]) -> Coded:
    """The column of these rows alone, with those values that they have."""
    used, ranks = np.unique(column.codes[items], return_inverse=True)
    if len(used) and used[0] < 0:
        used, ranks = used[1:], ranks - 1
    values = column.values
    kept = [values[i] for i in used.tolist()] if isinstance(values, list) else values[used]
    return Coded(kept, ranks.astype(np.int32))


def _facet(field: Field, column: Coded) -> Facet:
    if field.name == "size":
        column = _sizes(column)
    if isinstance(column.values, list):
        return _text_facet(field, column)
    numbers = column.values.astype(np.float64)
    if column.values.dtype.kind != "i":
        numbers = rounded(numbers)
    elif np.any(np.abs(numbers) >= _MAX_EXACT):
        texts = [str(each) for each in column.values.tolist()]
        return _text_facet(field, Coded(texts, column.codes))
    distinct, ranks = np.unique(numbers, return_inverse=True)
    num_finite = int(np.count_nonzero(np.isfinite(distinct)))
    # Sorted, with minus infinity before all numbers and infinity and NaN after them.
    first = int(np.count_nonzero(distinct == -np.inf))
    ranks -= first
    ranks[(ranks < 0) | (ranks >= num_finite)] = num_finite
    shown = [_plain(each) for each in distinct[first : first + num_finite].tolist()]
    return Facet(field, "number", shown, _recoded(column.codes, ranks, num_finite))


def _sizes(column: Coded) -> Coded:
    """Sizes as texts where one of them is a word."""
    values = column.values
    if isinstance(values, list) or 0 not in values:
        return column
    return Coded([size_text(int(each)) for each in values.tolist()], column.codes)


def _plain(number: float) -> int | float:
    """A whole number as one, which is shorter to write."""
    return int(number) if number.is_integer() and abs(number) < _MAX_EXACT else number


def _text_facet(field: Field, column: Coded) -> Facet:
    assert isinstance(column.values, list)
    if field.name == "weights_digest":
        texts = [text[:_DIGEST_LENGTH] for text in column.values]
    elif field.role == "input" or field.name == MANIFEST:
        # In the order of the manifest, so that the first of two that look alike keeps its name.
        texts = _in_order_of_first(column, lambda values: told_apart(map(shown_reference, values)))
    elif field.name == KEPT:
        # The same of most pictures; the rest is where the picture itself is told.
        texts = [re.sub(r"\S*/", "", text) for text in column.values]
    elif field.name == "error":
        texts = [shown_sentence(text) for text in column.values]
    else:
        texts = told_apart(map(shown_text, column.values))
    # Times sort as they are written.
    return _ranked(
        field, texts, column.codes, key=natural_key if field.name != "finished_at" else None
    )


def _in_order_of_first(column: Coded, function: Callable[[list[str]], list[str]]) -> list[str]:
    values = column.values
    assert isinstance(values, list)
    used, firsts = np.unique(column.codes[column.codes >= 0], return_index=True)
    order = used[np.argsort(firsts)].tolist()
    made = dict(zip(order, function([values[i] for i in order]), strict=True))
    return [made[i] for i in range(len(values))]


def _ranked(
    field: Field,
    texts: Sequence[str | None],
    codes: Codes,
    *,
    key: Callable[[str], str] | None = None,
) -> Facet:
    """The facet of texts of which some may be alike, or None for those that are missing."""
    order = [i for i, text in enumerate(texts) if text is not None]
    order.sort(key=lambda i: texts[i] or "")
    if key is not None:
        keys = [key(text) if text is not None else "" for text in texts]
        # Stable, so that those which are alike but for case or zeros do not stand by chance.
        order.sort(key=keys.__getitem__)
        # Of a million texts the most that is in memory here.
        del keys
    distinct: list[str] = []
    ranks = np.zeros(len(order), np.int64)
    for rank, i in enumerate(order):
        text = texts[i]
        if text is not None and (not distinct or distinct[-1] != text):
            distinct.append(text)
        ranks[rank] = len(distinct) - 1
    table = np.full(len(texts), len(distinct), np.int64)
    table[order] = ranks
    return Facet(field, "text", distinct, _recoded(codes, table, len(distinct)))


def _recoded(codes: Codes, table: NDArray[np.int64], missing: int) -> SmallCodes:
    return np.append(table, missing).astype(np.min_scalar_type(missing))[codes]


def _run_facet(sources: Sequence[Source], run: NDArray[np.uint8]) -> Facet:
    names = told_apart(shown_text(source.name) for source in sources)
    used = _taken(Coded(names, run.astype(np.int32)), np.arange(len(run)))
    assert isinstance(used.values, list)
    return _ranked(RUN, used.values, used.codes, key=natural_key)


def _identities(run: Facet, ids: Facet) -> Facet:
    """The ids with the run before them, since two runs may each have a picture of one id."""
    texts = [f"{run.at(item)}/{ids.at(item)}" for item in range(len(ids.codes))]
    return _ranked(ids.field, texts, np.arange(len(texts), dtype=np.int32), key=natural_key)


def _path_facet(name: str, column: Coded, clean: Callable[[str], str | None]) -> Facet:
    values = column.values if isinstance(column.values, list) else []
    codes = column.codes if values else np.full(len(column.codes), -1, np.int32)
    field = Field(column=name, name=name, title=name, role="identity")
    return _ranked(field, [clean(value) for value in values], codes)


def _picture(path: str) -> str | None:
    """A relative path as a URL; None for what would lead out of the output, or show a credential."""
    if any(name in ("", ".", "..") for name in path.split("/")) or secret_in_url(path):
        return None
    quoted = quote(path)
    # Not twice in memory where it is the same, as it is of most.
    return path if quoted == path else quoted


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    return lambda text: text if pattern.fullmatch(text) else None


def _thumbnails(
    sources: Sequence[Source], run: NDArray[np.uint8], named: Coded, digests: Coded
) -> Facet:
    """The stems of the thumbnails as the metadata names them, or else those that there are."""
    if not any(source.thumbnails for source in sources):
        return _path_facet("thumb", named, _matching(_THUMBNAIL))
    texts = [*named.values, None]
    stems = [output.thumbnail_stem(str(digest)) for digest in digests.values]
    found = [
        text if text is not None or digest < 0 else _present(sources[number], stems[digest])
        for number, text, digest in zip(
            run.tolist(),
            (texts[code] for code in named.codes.tolist()),
            digests.codes.tolist(),
            strict=True,
        )
    ]
    known = [text for text in dict.fromkeys(found) if text is not None]
    code_of = {text: code for code, text in enumerate(known)} | {None: -1}
    codes = np.array([code_of[text] for text in found], np.int32)
    return _path_facet("thumb", Coded(list(map(str, known)), codes), _matching(_THUMBNAIL))


def _present(source: Source, stem: str) -> str | None:
    return stem if f"{stem}-{output.THUMBNAILS_PX[0]}.webp" in source.thumbnails else None


@dataclass(frozen=True, slots=True)
class _Stems:
    """Which previews there are of the inputs of each item, as stems of file names."""

    texts: Sequence[str | None]
    codes: Codes
    used: Set[tuple[int, str]]

    def facet(self, name: str) -> Facet:
        field = Field(column=name, name=name, title=name, role="identity")
        return _ranked(field, self.texts, self.codes)


def _stems(sources: Sequence[Source], run: NDArray[np.uint8], digests: Coded) -> _Stems:
    values = digests.values if isinstance(digests.values, list) else []
    codes = run.astype(np.int64) * len(values) + digests.codes
    codes[digests.codes < 0] = -1
    texts: list[str | None] = []
    used: set[tuple[int, str]] = set()
    for number, source in enumerate(sources):
        for value in values:
            stems = [
                digest[:16]
                for digest in value.split()
                if _DIGEST.fullmatch(digest) and output.preview_name(digest) in source.previews
            ]
            used.update((number, stem) for stem in stems)
            texts.append(" ".join(f"{output.INPUTS}/{stem}" for stem in stems) or None)
    return _Stems(texts, codes.astype(np.int32), used)


def _filled(digests: Coded, references: Coded, run: NDArray[np.uint8]) -> Coded:
    """With what other rows of the same run know of the same input, where a row knows nothing."""
    keys = run.astype(np.int64) * (len(references.values) + 1) + references.codes
    is_known = digests.codes >= 0
    known, firsts = np.unique(keys[is_known], return_index=True)
    if not len(known):
        return digests
    found = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    others = np.where(known[found] == keys, digests.codes[is_known][firsts][found], -1)
    return Coded(digests.values, np.where(is_known, digests.codes, others).astype(np.int32))


def _pixels(facet: Facet) -> NDArray[np.uint16]:
    """Sizes in pixels, 0 where there is none."""
    if facet.kind == "text":
        return np.zeros(len(facet.codes), np.uint16)
    sizes = np.clip(np.array([*facet.values, 0], np.float64), 0, _MAX_PX)
    return sizes[facet.codes].astype(np.uint16)
