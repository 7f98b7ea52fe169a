"""The bytes of a manifest as it was saved -> its text in UTF-8, within a limit."""

import codecs
import gzip
import io
import zlib

from nst.manifest.problems import Problem, Problems

# As much as the largest number of rows takes. A packed file may hold a thousand times what it takes.
MAX_UNPACKED_BYTES = 512 * 1024**2

_CHUNK_BYTES = 1 << 20


def unpacked(data: bytes) -> bytes:
    """What a gzip file holds. Raises Problems for a damaged one and for more than the limit."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            found = file.read(MAX_UNPACKED_BYTES + 1)
    except (OSError, EOFError, zlib.error) as exc:
        raise Problems(Problem(None, None, "a gzip file", str(exc))) from exc
    if len(found) > MAX_UNPACKED_BYTES:
        expected = f"at most {MAX_UNPACKED_BYTES} bytes once unpacked"
        raise Problems(Problem(None, None, expected, "more"))
    return found


def as_utf_8(data: bytes) -> bytes:
    """Text that begins with the mark of UTF-16, as Excel's "Unicode text", in UTF-8; else as it is."""
    if not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data
    decoder = codecs.getincrementaldecoder("utf-16")()
    starts = range(0, len(data), _CHUNK_BYTES)
    try:
        parts = [decoder.decode(data[at : at + _CHUNK_BYTES]).encode() for at in starts]
        decoder.decode(b"", final=True)
    except UnicodeError as exc:
        raise Problems(Problem(None, None, "text in UTF-16, or in UTF-8", str(exc))) from exc
    return b"".join(parts)
