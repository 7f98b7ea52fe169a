"""Records and the pictures themselves -> metadata, where no manifest tells of the rows."""

import json
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from nst.iterables import in_chunks, in_parallel
from nst.job import PARAM_FIELDS
from nst.output import metadata
from nst.output.metadata import PARAM_COLUMNS, ROW_COLUMNS
from nst.output.reading import read_whole
from nst.output.records import Ledger
from nst.storage import side_by_side, table_of

# With their pictures so many are in memory at a time.
_ROWS_AT_ONCE = 1000
_SOFTWARE = b'"software": "nst '
_MAX_BYTES = 1 << 16


def write_recorded(file: IO[bytes], url: str, ledger: Ledger) -> None:
    """Put metadata of all pictures with a record into an open file, as each says of itself.

    Names of inputs are without their folders, rows are numbered as the records are, and there are no
    labels: a picture does not tell them.
    """
    tables = (
        side_by_side(
            table_of(
                in_parallel(lambda each: _row(url, *each), list(zip(at, pictures, strict=True))),
                [*ROW_COLUMNS, *PARAM_COLUMNS],
            ),
            outcomes,
        )
        for at in in_chunks(range(len(ledger.made)), _ROWS_AT_ONCE)
        for outcomes in [ledger.made.read(np.array(at, np.int64))]
        for pictures in [outcomes["picture"].to_pylist()]
    )
    metadata.write_metadata(file, tables, ())


def _row(url: str, number: int, picture: str | None) -> dict[str, Any]:
    told = told_by(read_whole(url, picture) or b"") if picture else {}
    known = {name: told[name] for name in PARAM_FIELDS if name in told}
    texts = {name: str(told.get(name, "")) for name in ("content", "style", "backbone")}
    return {"row": number + 1, **texts, **known}


def told_by(data: bytes) -> Mapping[str, Any]:
    """What the file of a picture says of what made it; nothing where it says nothing."""
    at = data.find(_SOFTWARE)
    start = at
    # Backwards, since a name within may have a brace too.
    while at >= 0 and (start := data.rfind(b"{", max(0, at - _MAX_BYTES), start)) >= 0:
        try:
            text = data[start : start + _MAX_BYTES].decode("latin-1")
            found, _ = json.JSONDecoder().raw_decode(text)
        except ValueError:
            continue
        if isinstance(found, dict) and "software" in found:
            return found
    return {}
