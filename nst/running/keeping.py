"""Intermediate pictures -> files of the output, written while the painting goes on."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor

from nst import output, storage
from nst.painting import OnKept
from nst.pictures import images
from nst.running.loading import Loaded, finished
from nst.running.order import Order
from nst.running.writing import provenance

_WRITERS = 4
# So many pictures are in memory at a time: whoever paints faster than they are written waits.
_MAX_PENDING = 8


@dataclass(frozen=True, slots=True)
class Kept:
    """The paths of the intermediate pictures of each item of a batch, relative to the output.

    `on_kept` writes one; None where the run keeps none.
    """

    on_kept: OnKept | None
    paths: list[list[str]] = field(default_factory=list)


@contextmanager
def keeping(loaded: Sequence[Loaded], order: Order) -> Iterator[Kept]:
    """Write intermediate pictures of a batch as they come; all are written at the end.

    Raises StorageError where one cannot be, from within the painting or at the end.
    """
    if not order.settings.keep_every:
        yield Kept(None, [[] for _ in loaded])
        return
    with ThreadPoolExecutor(_WRITERS, "keep") as pool:
        pending: deque[Future[None]] = deque()

        def on_kept(item: int, evaluation: int, image: Tensor) -> None:
            path = output.kept_path(loaded[item].planned.job, evaluation, order.settings)
            if len(pending) == _MAX_PENDING:
                pending.popleft().result()
            pending.append(pool.submit(_write, path, evaluation, loaded[item], image, order))
            kept.paths[item].append(path)

        kept = Kept(on_kept, [[] for _ in loaded])
        yield kept
        for each in pending:
            each.result()


def _write(path: str, evaluation: int, loaded: Loaded, image: Tensor, order: Order) -> None:
    told = {**provenance(loaded.planned, order.group), "evaluation": evaluation}
    data = images.encode(finished(loaded, image), order.settings.image_format, told)
    storage.write_bytes(storage.join(order.settings.output, path), data)
