from contextlib import nullcontext
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from nst.painting import transfers
from nst.painting.targets import Item
from nst.painting.transfers import fetched, placed, sent_ahead, with_pictures
from tests.helpers import item, mask_tensor, picture_tensor

CPU = torch.device("cpu")


def full() -> Item:
    one = item(num_styles=2)
    return replace(
        one,
        mask=mask_tensor(48, 64),
        start=picture_tensor(48, 64, seed=3),
        style_alphas=(None, torch.ones(1, *one.styles[1].shape[1:])),
    )


def test_each_picture_of_an_item_goes_along() -> None:
    """Every tensor that an item has, and nothing else."""
    one = full()
    sent = with_pictures(one, lambda picture: picture.to("meta"))
    for field in fields(sent):
        value = getattr(sent, field.name)
        for each in value if isinstance(value, tuple) else (value,):
            assert not isinstance(each, Tensor) or each.is_meta, field.name
    assert sent.style_alphas[0] is None
    assert (sent.params, sent.style_keys) == (one.params, one.style_keys)


def test_on_a_cpu_nothing_is_copied() -> None:
    one = full()
    assert placed(one, CPU) is one
    assert sent_ahead(one, CPU) is one
    assert fetched(one.content) is one.content


def test_what_finds_no_memory_on_its_way_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the GPU or, pinned, of the CPU; of other failures an item does not come back as if it were sent."""
    said = ["CUDA error: out of memory", "CUDA error: an illegal memory access was encountered"]

    def pinned(_: Tensor) -> Tensor:
        raise RuntimeError(said.pop(0))

    monkeypatch.setattr(Tensor, "pin_memory", pinned)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(transfers, "_sending_stream", lambda _: None)
    one = full()
    assert sent_ahead(one, torch.device("cuda")) is one
    with pytest.raises(RuntimeError, match="illegal memory access"):
        sent_ahead(one, torch.device("cuda"))
