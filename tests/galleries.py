"""What tests of galleries share: records, runs of them, and a reader of its own of the files."""

import base64
import gzip
import io
import json
import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from nst.gallery.facets import Source
from nst.job import PictureParams, params_dict
from nst.output import metadata
from nst.output.metadata import Outcome, Record
from tests.tables import metadata_to_parquet
from tests.test_metadata import OK

_CALL = re.compile(r'nstGallery\("([a-z0-9-]+)","([A-Za-z0-9+/]+={0,2})"\);\n')
_FORMATS = {"u1": "B", "u2": "H", "u4": "I", "i2": "h"}


def record(**values: Any) -> Record:
    """A record that says little; `id` names its outcome."""
    own_id = values.pop("id", None)
    defaults: dict[str, Any] = {
        "row": 1,
        "content": "in/summer-palace.jpg",
        "style": "in/great_wave.jpg",
        "backbone": "vgg16",
        "labels": {},
        "params": PictureParams(),
        "outcome": OK,
    }
    made = Record(**defaults | values)
    if own_id is None:
        return made
    picture = f"images/{own_id}.png" if made.outcome.status == "ok" else None
    return replace(made, outcome=replace(made.outcome, id=own_id, picture=picture))


def source(
    records: Iterable[Record], *, name: str = "", base: str = "", previews: Set[str] = frozenset()
) -> Source:
    """A run of these records."""
    rows = list(records)
    labels = list(dict.fromkeys(label for each in rows for label in each.labels))
    table = metadata_to_parquet(rows, labels)
    return Source(name=name, base=base, metadata=io.BytesIO(table), previews=previews)


def unpacked(data: bytes) -> tuple[str, dict[str, Any]]:
    """The key and the content of a file of data, as its format says and with none of nst's code."""
    found = _CALL.fullmatch(data.decode("ascii"))
    assert found is not None, data[:200]
    packed = base64.b64decode(found[2], validate=True)
    assert packed[4:8] == bytes(4), "the time of writing would make every build another"
    container = gzip.decompress(packed)
    (length,) = struct.unpack_from("<I", container)
    assert (4 + length) % 8 == 0
    arrays = container[4 + length :]
    assert len(arrays) % 8 == 0

    def revived(value: Any) -> Any:
        if isinstance(value, list):
            return [revived(each) for each in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"$"}:
            kind, offset, number = value["$"]
            assert offset % 8 == 0
            return list(struct.unpack_from(f"<{number}{_FORMATS[kind]}", arrays, offset))
        return {name: revived(each) for name, each in value.items()}

    content = revived(json.loads(container[4 : 4 + length].decode("utf-8")))
    assert isinstance(content, dict)
    return found[1], content


@dataclass(frozen=True, slots=True)
class Read:
    """A gallery as its files say it is: each item's fields by name, and its places beside them."""

    spine: dict[str, Any]
    items: tuple[dict[str, Any], ...]
    columns: Mapping[str, list[Any]]
    details: Mapping[int, "Detail"]

    def ids(self) -> list[str]:
        return [item["id"] for item in self.items]


@dataclass(frozen=True, slots=True)
class Detail:
    """The loss curve of an item, by the name of the loss, and the loss of each layer."""

    evaluations: list[int]
    curves: dict[str, list[int]]
    layers: list[list[Any]]


PLACES = ("picture", "thumb", "color", "content_preview", "style_preview")


def read_gallery(files: Mapping[str, bytes]) -> Read:
    """All that a gallery's files of data hold, found by their names as the page finds them."""
    (path,) = [path for path in files if path.startswith("data/spine.")]
    key, spine = unpacked(files[path])
    assert key == "spine"

    def content(key: str, digest: str) -> dict[str, Any]:
        found, value = unpacked(files[f"data/{key}.{digest}.js"])
        assert found == key
        return value

    fields = spine["fields"]
    items: list[dict[str, Any]] = []
    for number, digest in enumerate(f"{each:08x}" for each in spine["chunks"]):
        chunk = content(f"rows-{number:04d}", digest)
        assert chunk["first"] == len(items)
        items += _items(chunk, fields)
    columns = {
        field["name"]: dictionary(content(f"col-{index}", field["hash"]))
        for index, field in enumerate(fields)
        if "hash" in field
    }
    details: dict[int, Detail] = {}
    for number, digest in enumerate(f"{each:08x}" for each in spine["details"]):
        details |= _details(content(f"detail-{number:04d}", digest))
    return Read(spine, tuple(items), columns, details)


def dictionary(column: Mapping[str, Any]) -> list[Any]:
    """The values of a dictionary-coded column."""
    values, codes = column["values"], column["codes"]
    assert len(set(map(repr, values))) == len(values)
    return [values[code] if code < len(values) else None for code in codes]


def _items(chunk: Mapping[str, Any], fields: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    count = chunk["count"]
    columns = {
        field["name"]: dictionary(chunk["fields"][str(index)])
        if "hash" in field
        else [field["value"]] * count
        for index, field in enumerate(fields)
    }
    places = {f"@{name}": dictionary(chunk[name]) for name in PLACES}
    sizes = {f"@{name}": chunk[name] for name in ("height", "width", "run", "detail")}
    together = {**columns, **places, **sizes}
    assert {len(values) for values in together.values()} == {count}
    return [{name: values[i] for name, values in together.items()} for i in range(count)]


def _details(chunk: Mapping[str, Any]) -> dict[int, Detail]:
    found = {}
    start = 0
    for i, count in enumerate(chunk["counts"]):
        stop = start + count
        curves = {name: whole(each[start:stop]) for name, each in chunk["curves"].items()}
        layers = chunk["layers"][i] if chunk["layers"] else []
        found[chunk["first"] + i] = Detail(chunk["evaluations"][start:stop], curves, layers)
        start = stop
    return found


def whole(differences: Sequence[int]) -> list[int]:
    """The values of a curve whose differences are kept, of 16 bits that wrap round."""
    values: list[int] = []
    for each in differences:
        last = values[-1] if values else 0
        values.append((last + each + 2**15) % 2**16 - 2**15)
    return values


def files_in(folder: Path) -> dict[str, bytes]:
    """The files of the gallery in a folder."""
    paths = [folder / "index.html"]
    paths += [path for name in ("data", "assets", "pages") for path in (folder / name).glob("*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


# What is told otherwise, or of no use to who looks at pictures.
LEFT_OUT = {
    "key",
    "inputs_key",
    "picture",
    "picture_digest",
    "picture_version",
    "content_digest",
    "style_digest",
    "thumbnail",
    "color",
    "style_layer_losses",
    "loss_curve",
}


def expected_items(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """What a gallery has to tell of the runs, in the order of their rows: slow, and plain Python."""
    found = []
    for run in sources:
        run.metadata.seek(0)
        rows = metadata.metadata_from_parquet(run.metadata.read())
        by_id: dict[str, list[Record]] = {}
        for row in rows:
            by_id.setdefault(row.outcome.id, []).append(row)
        for row in rows:
            alike = by_id[row.outcome.id]
            chosen = next((each for each in alike if each.outcome.picture is not None), alike[0])
            if row is chosen:
                item = _expected(row, run if len(sources) > 1 else None)
                manifests = [row.manifest, *(each.manifest for each in alike)]
                distinct = dict.fromkeys(name for name in manifests if name is not None)
                if distinct:
                    item["manifest"] = " | ".join(sorted(distinct))
                found.append(item)
    # Where one of a field's numbers has to be a text, all are.
    for item in found:
        if any(isinstance(other.get("seed"), str) for other in found):
            item["seed"] = str(item["seed"])
    return found


def _expected(row: Record, run: Source | None) -> dict[str, Any]:
    outcome = row.outcome
    told = {
        **{name: getattr(row, name) for name in ("content", "style", "mask", "start", "backbone")},
        **{f"label_{name}": text for name, text in row.labels.items()},
        **params_dict(row.params),
        **{f.name: getattr(outcome, f.name) for f in fields(Outcome) if f.name not in LEFT_OUT},
        "row": row.row,
    }
    if outcome.weights_digest is not None:
        told["weights_digest"] = outcome.weights_digest[:12]
    if run is not None:
        told |= {"run": run.name, "id": f"{run.name}/{outcome.id}"}
    return {name: shown for name, value in told.items() if (shown := _shown(value)) is not None}


def _shown(value: Any) -> Any:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return float(f"{value:.4g}") if math.isfinite(value) else None
        case int():
            return value if abs(value) < 2**53 else str(value)
        case tuple():
            return " ".join(f"{each:.4g}" if isinstance(each, float) else each for each in value)
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%SZ")
        case _:
            return value


_LOSSES = st.none() | st.floats(0, 10, width=32) | st.just(math.nan)
_OUTCOMES = st.builds(
    Outcome,
    id=st.sampled_from([f"id-{n}" for n in range(12)]),
    status=st.just("ok"),
    picture=st.sampled_from(["images/a.png", "images/b c.png", "images/%41#?.png"]),
    content_loss=_LOSSES,
    style_loss=_LOSSES,
    lpips=_LOSSES,
    noise=_LOSSES,
    seconds=st.none() | st.floats(0, 1e6),
    evaluations=st.none() | st.integers(1, 2**31 - 1),
    height=st.none() | st.integers(1, 8192),
    width=st.none() | st.integers(1, 8192),
    is_flat=st.none() | st.booleans(),
    finished_at=st.none()
    | st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)).map(
        lambda time: time.replace(tzinfo=UTC, microsecond=time.microsecond // 1000 * 1000)
    ),
    weights_digest=st.none() | st.sampled_from(["ab" * 32, "cd" * 32]),
    device=st.sampled_from([None, "cpu", "cuda:0"]),
) | st.builds(
    Outcome,
    id=st.sampled_from([f"id-{n}" for n in range(12)]),
    status=st.just("failed"),
    reason=st.sampled_from(["input_not_found", "diverged"]),
    error=st.sampled_from(["no such file", "not a finite number"]),
)
RECORDS = st.lists(
    st.builds(
        Record,
        row=st.integers(1, 2**40),
        content=st.sampled_from(["a1.png", "a10.png", "a9.png"]),
        style=st.sampled_from(["x.jpg", "y.jpg | z.jpg"]),
        mask=st.sampled_from([None, "m.png"]),
        backbone=st.sampled_from(["vgg19", "vgg16", "other"]),
        manifest=st.sampled_from([None, "a.csv", "b.csv"]),
        labels=st.dictionaries(st.sampled_from(["series", "note"]), st.sampled_from("abc")),
        params=st.builds(
            PictureParams,
            style_weight=st.sampled_from([0.5, 1.0, 2.0]),
            content_size=st.sampled_from([None, 512]),
            style_layers=st.sampled_from([None, ("relu1_1", "relu2_1")]),
            style_blend=st.sampled_from([None, (1.0, 0.25)]),
            seed=st.sampled_from([0, 2**62, 2**62 + 1]),
        ),
        outcome=_OUTCOMES,
    ),
    max_size=14,
)
