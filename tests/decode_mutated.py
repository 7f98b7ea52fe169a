"""`python -m tests.decode_mutated FOLDER COUNT SEED`: damage the pictures in FOLDER, and decode them.

One line of JSON is printed for each before it is decoded and one after, so that whatever ends the
process is known by its number; the last line says how much memory the process took at most.
"""

import json
import sys
from pathlib import Path

import numpy as np
import psutil

from nst.errors import ImageError
from nst.pictures import images

_SIZE = 64
# The largest, the smallest, and those on both sides of the sign, in both orders of bytes.
EXTREMES = tuple(
    value.to_bytes(width, order)
    for width in (1, 2, 4, 8)
    for value in (0, (1 << 8 * width - 1) - 1, 1 << 8 * width - 1, (1 << 8 * width) - 1)
    for order in ("big", "little")
)


def _mutated(generator: np.random.Generator, sound: dict[str, bytes]) -> tuple[str, str, bytes]:
    """What was picked, what was done to it, and the bytes."""
    name, data = _picked(generator, sound)
    at = int(generator.integers(1, len(data)))
    match generator.integers(5):
        case 0:
            return name, f"cut at {at}", data[:at]
        case 1:
            damaged = bytearray(data)
            places = generator.integers(0, len(data), int(generator.integers(1, 9)))
            for place in places:
                damaged[place] ^= 1 << int(generator.integers(8))
            return name, f"bits flipped at {sorted(map(int, places))}", bytes(damaged)
        case 2:
            length = int(generator.integers(1, 65))
            junk = generator.bytes(length)
            return name, f"{length} bytes over at {at}", data[:at] + junk + data[at + length :]
        case 3:
            # A number in the header that is as large as it can be, or as small.
            at = int(generator.integers(0, min(len(data), 256)))
            number = EXTREMES[int(generator.integers(len(EXTREMES)))]
            return name, f"{number!r} over at {at}", data[:at] + number + data[at + len(number) :]
        case _:
            other, tail = _picked(generator, sound)
            start = int(generator.integers(0, len(tail)))
            return name, f"from {at} on {other} from {start} on", data[:at] + tail[start:]


def _picked(generator: np.random.Generator, sound: dict[str, bytes]) -> tuple[str, bytes]:
    names = list(sound)
    name = names[int(generator.integers(len(names)))]
    return name, sound[name]


def _decode(data: bytes) -> images.Picture:
    # The start of a longer file, which is looked at first.
    images.size_by_start(data[: len(data) * 3 // 4], name="it")
    images.probe_size(data, name="it")
    return images.decode(data, long_edge_px=_SIZE, name="it")


def _main(folder: Path, count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    sound = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    whole = {name: _decode(data) for name, data in sound.items()}
    for number in range(count):
        name, done, data = _mutated(generator, sound)
        what = f"{name}, {done}"
        _say(number=number, what=what)
        reason = None
        try:
            made = _decode(data)
            assert np.isfinite(made.pixels).all(), what
            assert made.pixels.min() >= 0, what
            assert made.pixels.max() <= 1, what
            if done.startswith("cut"):
                # Nothing of the pixels may be missing where no error says so.
                np.testing.assert_array_equal(made.pixels, whole[name].pixels, err_msg=what)
        except ImageError as exc:
            reason = exc.reason
        _say(number=number, what=what, reason=reason)
    _say(rss_bytes=_peak_rss_bytes())


def _peak_rss_bytes() -> int:
    """The most memory that this process held, or holds now where the system keeps no such count.

    Not getrusage's: Linux hands that on from the process that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        return int(psutil.Process().memory_info().rss)
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
