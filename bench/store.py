"""How many requests a picture asks of a store: `python -m bench.store`.

Runs of two lengths go to an S3 server on the loopback interface, past a proxy that counts; what the
longer one asks more, by picture, is what a picture costs, and the rest is what a run costs. The
pictures are small and hardly painted, since neither changes what is asked of a store: only the lock
is renewed by the clock.
"""

import argparse
import logging
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bench.measuring import measured, python, table
from tests import servers
from tests.faults import Fault, FaultProxy, Request
from tests.helpers import picture_bytes

_BUCKET = "bench"
_NUM_STYLES = 2
# Just large enough to have both sizes of thumbnails.
_SIZE = 272
# What a key begins with, below the folder of the run, and what it is called here.
_KINDS = {
    "in/content": "contents",
    "in/style": "styles",
    "in/": "inputs",
    "out/images/": "pictures",
    "out/thumbs/": "thumbnails",
    "out/records/new/": "records",
    "out/records/": "parts of records",
    "out/inputs/": "previews",
    "out/locks/": "lock",
    "out/run.json": "run.json",
    "out/metadata.parquet": "metadata",
    "out/": "gallery",
}
_PREFIX = re.compile(r"[?&]prefix=([^&]*)")

Counts = Mapping[tuple[str, str], int]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.store", description=__doc__)
    parser.add_argument("--pictures", type=int, nargs=2, default=(4, 20), metavar=("FEW", "MANY"))
    # The server would print every request.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    few, many = parser.parse_args().pictures
    with FaultProxy(servers.moto_url()) as proxy:
        servers.client(proxy.server).create_bucket(Bucket=_BUCKET)
        first = {number: _counted(proxy, number) for number in (few, many)}
        again = {number: _counted(proxy, number) for number in (few, many)}
    for title, found in (("first run", first), ("run again, nothing to do", again)):
        sys.stdout.write(f"{title}, {few} and {many} pictures\n\n")
        sys.stdout.write(to_markdown(found[few], found[many], many - few) + "\n\n")


def to_markdown(few: Counts, many: Counts, num_more: int) -> str:
    """Requests of the shorter run and of the longer, and of each picture that the latter has more."""
    rows = [
        [*each, a := few.get(each, 0), b := many.get(each, 0), f"{(b - a) / num_more:.2f}"]
        for each in sorted({*few, *many})
    ]
    # Of the lock there are as many as the clock says.
    a, b = (sum(n for (what, _), n in c.items() if what != "lock") for c in (few, many))
    rows.append(["all but the lock", "", a, b, f"{(b - a) / num_more:.2f}"])
    return table(["what", "method", "few", "many", "a picture"], rows)


def _counted(proxy: FaultProxy, num_pictures: int) -> Counts:
    """The requests of a run of so many pictures: by what they are for, and by their method."""
    place = f"{num_pictures}"
    s3 = servers.client(proxy.server)
    for number in range(num_pictures):
        body = picture_bytes(48, 64, seed=number)
        s3.put_object(Bucket=_BUCKET, Key=f"{place}/in/content{number}.png", Body=body)
    for number in range(_NUM_STYLES):
        body = picture_bytes(64, 48, seed=1000 + number)
        s3.put_object(Bucket=_BUCKET, Key=f"{place}/in/style{number}.png", Body=body)
    counts: Counter[tuple[str, str]] = Counter()

    def count(request: Request) -> Fault | None:
        counts[_kind(request, place), "LIST" if request.is_list else request.method] += 1
        return None

    proxy.rules[:] = [count]
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as folder:
        manifest = Path(folder) / "rows.csv"
        rows = [
            f"s3://{_BUCKET}/{place}/in/content{number}.png,"
            f"s3://{_BUCKET}/{place}/in/style{number % _NUM_STYLES}.png,vgg16,{_SIZE},1"
            for number in range(num_pictures)
        ]
        manifest.write_text("\n".join(["content,style,backbone,size,steps", *rows]) + "\n")
        measured(
            python("nst", "run", manifest, "--output", f"s3://{_BUCKET}/{place}/out"),
            environment=servers.environment(proxy.url),
        )
    proxy.rules.clear()
    return counts


def _kind(request: Request, place: str) -> str:
    listed = _PREFIX.search(f"?{request.query}")
    key = listed[1].replace("%2F", "/") if request.is_list and listed else request.key
    below = key.removeprefix(f"{place}/")
    return next((kind for start, kind in _KINDS.items() if below.startswith(start)), "bucket")


if __name__ == "__main__":
    main()
