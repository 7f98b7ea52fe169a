"""An output -> a contact sheet: the pictures by two fields, small, with labels, as one file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from nst import output, storage
from nst.errors import ConfigError, ImageError, NotFoundError
from nst.gallery.facets import Facet, Items, Value, read_items
from nst.gallery.fields import Field
from nst.gallery.publishing import source_of
from nst.gallery.texts import readable, shown_text
from nst.iterables import in_parallel
from nst.pictures import contact, images
from nst.storage import ScratchFile

_SMALL_PX, _LARGE_PX = output.THUMBNAILS_PX


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A contact sheet as a file, with how many pictures it shows, and how many had no cell left."""

    data: bytes
    num_shown: int
    num_left_out: int


def make_sheet(
    url: str,
    *,
    x: str,
    y: str,
    where: Mapping[str, str],
    cell_px: int,
    sheet_format: contact.SheetFormat,
) -> Sheet:
    """The pictures of an output, the values of the field `x` across and of `y` down.

    Of several pictures in one cell the first is shown. Raises ConfigError for a field or a value that
    the output does not have.
    """
    with ScratchFile() as file:
        items = read_items([source_of(url, output.read_table(url, file))])
    across, down = _field(items, x), _field(items, y)
    chosen = _chosen(items, where)
    cells: dict[tuple[int, int], int] = {}
    pictures = items.paths["picture"]
    # One that was made, before one that failed.
    for item in sorted(chosen, key=lambda item: not pictures.at(item)):
        cells.setdefault((int(down.codes[item]), int(across.codes[item])), item)
    rows = sorted({row for row, _ in cells})
    columns = sorted({column for _, column in cells})

    def read() -> Iterator[list[bytes | str]]:
        for row in rows:
            some = [cells.get((row, column)) for column in columns]
            yield in_parallel(lambda item: _cell(url, items, item, cell_px), some)

    data = contact.contact_sheet(
        read(),
        row_labels=_labels(down, rows),
        column_labels=_labels(across, columns),
        title=f"{shown_text(storage.absolute(url).rstrip('/').rpartition('/')[2])}: "
        f"{down.field.title} down, {across.field.title} across",
        cell_px=cell_px,
        sheet_format=sheet_format,
    )
    return Sheet(data=data, num_shown=len(cells), num_left_out=len(chosen) - len(cells))


def _field(items: Items, name: str) -> Facet:
    facet = items.facets.get(name.strip().lower().replace(" ", "_")) or items.facets.get(name)
    if facet is None or not facet.values:
        known = ", ".join(each.field.name for each in items.facets.values() if each.varies)
        raise ConfigError(f"expected a field of the output, such as {known}; found {name!r}")
    return facet


def _chosen(items: Items, where: Mapping[str, str]) -> list[int]:
    """The items that have these values: a field's whole text, or as a page shows it."""
    chosen = list(range(len(items)))
    for name, wanted in where.items():
        facet = _field(items, name)
        codes = {
            code
            for code, value in enumerate(facet.values)
            if wanted in (str(value), _value_label(facet.field, value))
        }
        if not codes:
            some = ", ".join(str(value) for value in facet.values[:10])
            raise ConfigError(f"--where {name}: expected one of {some}; found {wanted!r}")
        chosen = [item for item in chosen if int(facet.codes[item]) in codes]
    if not chosen:
        raise ConfigError("expected pictures to show, found none that --where leaves")
    return chosen


def _labels(facet: Facet, codes: Sequence[int]) -> list[str]:
    """As a page shows the values; those that look alike as they are written."""
    values = [facet.values[code] for code in codes if code < len(facet.values)]
    shown = [_value_label(facet.field, value) for value in values]
    labels = [
        str(value) if shown.count(label) > 1 else label
        for value, label in zip(values, shown, strict=True)
    ]
    # The missing one has the last code.
    return labels + [f"no {facet.field.title}"] * (len(codes) - len(values))


def _value_label(field: Field, value: Value) -> str:
    return readable(str(value)) if field.role == "input" else str(value)


def _cell(url: str, items: Items, item: int | None, cell_px: int) -> bytes | str:
    """The bytes of the smallest file that is large enough, or why there is none."""
    if item is None:
        return ""
    picture, stem = (items.paths[name].at(item) for name in ("picture", "thumb"))
    if picture is None:
        return str(items.facets["reason"].at(item) or "no picture").replace("_", " ")
    long_px = max(int(items.height[item]), int(items.width[item]))
    paths = []
    if stem is not None and (cell_px <= _SMALL_PX or long_px <= _SMALL_PX):
        paths.append(f"{stem}-{_SMALL_PX}.webp")
    elif stem is not None and (cell_px <= _LARGE_PX or long_px <= _LARGE_PX):
        paths.append(f"{stem}-{_LARGE_PX}.webp")
    for path in (*paths, unquote(str(picture))):
        try:
            data = storage.read_bytes(storage.join(url, path))
            images.read_header(data, name=path)
        except (NotFoundError, ImageError):
            continue
        return data
    return "file is missing"
