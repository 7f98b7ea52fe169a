"""Weights and settings (59 to 68)."""

import hashlib
import io
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import safetensors.torch
import torch
from torch import Tensor

from nst.painting import weights
from nst.painting.engine import Stylized, stylize
from nst.painting.targets import Item
from tests.catalogue import Bench, Case, Letter, Seen, bad
from tests.forged import harmful_weights

_SHAPE = (64, 3, 3, 3)


def _with_weights(bench: Bench, data: bytes, name: str = "mine.pth", *, pin: str = "") -> Seen:
    """A run with these bytes as the weights that the user names."""
    path = bench.folder / name
    path.write_bytes(data)
    return bench.run([bad()], "--weights", f"vgg16={path}{pin}")


def _refused(seen: Seen, *said: str) -> Letter:
    """What became of it, where the message says this."""
    text = " ".join(seen.printed.split())
    assert all(words in text for words in said), text
    return seen.letter


def _saved(state: Mapping[str, Tensor]) -> bytes:
    sink = io.BytesIO()
    torch.save(dict(state), sink)
    return sink.getvalue()


def _harmful(bench: Bench, kind: str, name: str) -> Letter:
    canary = bench.folder / "canary"
    seen = _with_weights(bench, harmful_weights(kind, canary), name)
    assert not canary.exists()
    return _refused(seen, "which is neither")


def _bad_checksum(bench: Bench) -> Letter:
    values = torch.full(_SHAPE, 3.0)
    data = bytearray(_saved({"features.0.weight": values}))
    data[data.index(values.numpy().tobytes()) + 2] ^= 1
    return _refused(_with_weights(bench, bytes(data)), "the checksum of", "is wrong")


def _other_state(bench: Bench, key: str, value: Tensor, said: str) -> Letter:
    data = safetensors.torch.save({key: value})
    return _refused(_with_weights(bench, data, "mine.safetensors"), "--weights: ", said)


def _pinned(bench: Bench, pin: str | None) -> Letter:
    """The embedded weights as a file of the user's own, with a pin, or with the right one."""
    data = weights.EMBEDDED["vgg16"].read_bytes()
    found = hashlib.sha256(data).hexdigest()
    seen = _with_weights(bench, data, "mine.safetensors", pin=f"#sha256={pin or found}")
    if pin is None:
        assert {record.outcome.weights_digest for record in seen.records} == {found}
        return seen.letter
    return _refused(seen, f"with the sha256 {pin}, found {found}")


def _topology(bench: Bench, name: str, *said: str) -> Letter:
    """The embedded weights of VGG-16, which has no topologies, as one of them."""
    data = weights.EMBEDDED["vgg16"].read_bytes()
    return _refused(_with_weights(bench, data, "m.safetensors", pin=f"#topology={name}"), *said)


def _truncated(bench: Bench, name: str) -> Letter:
    data = weights.EMBEDDED["vgg16"].read_bytes()
    if name.endswith(".pth"):
        data = _saved({"features.0.weight": torch.zeros(_SHAPE)})
    return _refused(_with_weights(bench, data[: len(data) // 2], name), "which is neither")


def _missing(bench: Bench) -> Letter:
    seen = bench.run([bad()], "--weights", f"vgg16={bench.folder}/none.pth")
    return _refused(seen, "none.pth: there is no such file", "with --weights vgg16=FILE-OR-URL")


def _no_network(bench: Bench) -> Letter:
    """Nobody asked for a download: only the rows fail that need it."""

    def refuse(*_: object, **__: object) -> None:
        raise URLError("no network in this test")

    bench.monkeypatch.setattr("torch.hub.urlopen", refuse)
    bench.monkeypatch.setenv("TORCH_HOME", str(bench.folder / "torch"))
    seen = bench.run([bad(backbone="resnet50")])
    assert seen.reason() == "weights_unavailable"
    return _refused(seen, f"put that file at {bench.folder}/torch/hub/checkpoints/resnet50-")


def _huge_header(bench: Bench) -> Letter:
    data = (100 << 30).to_bytes(8, "little") + b"{}" * 50
    return _refused(_with_weights(bench, data, "mine.safetensors"), "which is neither")


def _too_many_bytes(bench: Bench) -> Letter:
    bench.monkeypatch.setattr(weights, "MAX_BYTES", 100)
    return _refused(_with_weights(bench, bytes(200)), "100 bytes")


_MATRIX = b"content: a.png\nstyle: s.png\nbackbone: vgg16\nsize: 48\nsteps: 1\n"


def _matrix(bench: Bench, text: bytes, *said: str) -> Letter:
    return _refused(bench.run_file("manifest.yaml", _MATRIX + text), *said)


def _alias_bomb(bench: Bench) -> Letter:
    lines = ["label_a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"label_{name}: &{name} [" + ", ".join([f"*{before}"] * 10) + "]")
    return _matrix(bench, "\n".join(lines).encode())


_SECRET = "wJalrXUtnFEMI-K7MDENG"


def _unsaid(bench: Bench, seen: Seen) -> Letter:
    """What became of it, where no word of it gives the secret away."""
    assert _SECRET not in seen.printed
    assert not [
        p for p in bench.output.rglob("*") if p.is_file() and _SECRET in p.read_text("latin-1")
    ]
    return seen.letter


def _secret_output(bench: Bench) -> Letter:
    seen = bench.run([bad()], "--output", f"s3://AKIAEXAMPLE:{_SECRET}@bucket/out")
    return _unsaid(bench, seen)


def _secret_weights(bench: Bench) -> Letter:
    url = f"s3://bucket/vgg16.pth?X-Amz-Signature={_SECRET}"
    return _unsaid(bench, bench.run([bad()], "--weights", f"vgg16={url}"))


def _secret_manifest(bench: Bench) -> Letter:
    url = f"s3://AKIAEXAMPLE:{_SECRET}@bucket/manifest.csv"
    return _unsaid(bench, bench.nst("run", url, "--output", str(bench.output)))


def _no_gpu(bench: Bench) -> Letter:
    bench.monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    return _refused(bench.run([bad()], "--device", "cuda"), "cuda")


def _full_gpu(bench: Bench) -> Letter:
    """One picture never fits, whatever is painted with it; those before and after it do."""
    num_at_once: list[int] = []

    def full(items: list[Item], *arguments: Any, **options: Any) -> Stylized:
        num_at_once.append(len(items))
        if any(item.params.seed == 7 for item in items):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return stylize(items, *arguments, **options)

    bench.monkeypatch.setattr("nst.running.batch.stylize", full)
    bench.monkeypatch.setattr("nst.running.batch.runs_items_together", lambda *_: True)
    seen = bench.run([bad(seed=7), bad(id="next", content="b.png")])
    assert seen.reason() == "out_of_memory"
    (after,) = (r.outcome for r in seen.records if r.outcome.id == "next")
    assert after.status == "ok"
    assert max(num_at_once) > min(num_at_once) == 1
    return seen.letter


def _batch_pixels(bench: Bench, value: int) -> Letter:
    seen = bench.run([bad()], "--max-batch-pixels", str(value))
    return _refused(seen, "--max-batch-pixels: expected") if value < 1 else seen.letter


def _no_temporary_folder(bench: Bench) -> Letter:
    nowhere = str(bench.folder / "nowhere")
    bench.monkeypatch.setenv("TMPDIR", nowhere)
    bench.monkeypatch.setattr(tempfile, "tempdir", nowhere)
    letter = bench.run([bad()]).letter
    assert not Path(nowhere).exists()
    return letter


def _other_settings(bench: Bench, *arguments: str) -> Letter:
    """A run on the output of another, whose pictures were made with other settings."""
    assert bench.run([bad()]).letter == "OK"
    before = {path: path.read_bytes() for path in (bench.output / "images").iterdir()}
    metadata = (bench.output / "metadata.parquet").read_bytes()
    done = bench.run([bad()], *arguments)
    if done.exit_status != 2:
        return done.letter
    assert {path: path.read_bytes() for path in (bench.output / "images").iterdir()} == before
    assert (bench.output / "metadata.parquet").read_bytes() == metadata
    return "A"


_HARMFUL = ("zip", "legacy", "bare pickle", "tar")

CASES: tuple[Case, ...] = (
    *(
        Case(59, "A", f"code in a {kind} as {name}", partial(_harmful, kind=kind, name=name))
        for kind in _HARMFUL
        for name in ("mine.pth", "mine.safetensors")
    ),
    Case(59, "A", "a wrong checksum", _bad_checksum),
    Case(
        60,
        "A",
        "wrong keys",
        lambda b: _other_state(b, "conv1.weight", torch.zeros(_SHAPE), "expected the key"),
    ),
    Case(
        60,
        "A",
        "wrong shapes",
        lambda b: _other_state(b, "features.0.weight", torch.zeros(9), "expected 'features.0"),
    ),
    Case(
        60,
        "A",
        "whole numbers",
        lambda b: _other_state(
            b, "features.0.weight", torch.zeros(_SHAPE, dtype=torch.int8), "floating-point"
        ),
    ),
    Case(
        60,
        "A",
        "no numbers",
        lambda b: _other_state(b, "features.0.weight", torch.full(_SHAPE, torch.nan), "not finite"),
    ),
    Case(
        60,
        "A",
        "codes without a table",
        lambda b: _other_state(
            b,
            "features.0.weight.codes",
            torch.zeros(_SHAPE, dtype=torch.uint8),
            "expected features.0.weight.table beside features.0.weight.codes, found none",
        ),
    ),
    Case(61, "A", "another digest than the pin", lambda b: _pinned(b, "0" * 64)),
    Case(61, "OK", "the digest of the pin", lambda b: _pinned(b, None)),
    Case(61, "A", "a topology of a VGG", lambda b: _topology(b, "caffe", "expected no topology")),
    Case(61, "A", "two topologies", lambda b: _topology(b, "a#topology=b", "once each")),
    Case(62, "A", "half a safetensors file", lambda b: _truncated(b, "mine.safetensors")),
    Case(62, "A", "half a state dict", lambda b: _truncated(b, "mine.pth")),
    Case(62, "A", "a missing file", _missing),
    Case(62, "R", "a download without a network", _no_network),
    Case(63, "A", "a header of 100 GB", _huge_header),
    Case(63, "A", "too many bytes", _too_many_bytes),
    Case(64, "A", "an unknown key", lambda b: _matrix(b, b"stile: s.png\n", "'stile'")),
    Case(64, "A", "a value of the wrong type", lambda b: _matrix(b, b"seed: {a: 1}\n", "mapping")),
    Case(64, "A", "a tag", lambda b: _matrix(b, b"label_a: !!python/name:os.system\n", "tags")),
    Case(
        64,
        "A",
        "a call of Python",
        lambda b: _matrix(b, b"label_a: !!python/object/apply:os.system [ls]\n", "tags"),
    ),
    Case(64, "A", "aliases of aliases", _alias_bomb),
    Case(64, "A", "a key twice", lambda b: _matrix(b, b"style: t.png\n", "'style'")),
    Case(65, "A", "a secret in the output's URL", _secret_output),
    Case(65, "A", "a secret in the weights' URL", _secret_weights),
    Case(65, "A", "a secret in the manifest's URL", _secret_manifest),
    Case(66, "A", "no GPU", _no_gpu),
    Case(66, "R", "a GPU that one picture does not fit", _full_gpu),
    Case(67, "A", "no pixels in a batch", lambda b: _batch_pixels(b, 0)),
    Case(67, "A", "fewer than no pixels", lambda b: _batch_pixels(b, -1)),
    Case(67, "OK", "any number of pixels", lambda b: _batch_pixels(b, 10**12)),
    Case(67, "OK", "no temporary folder", _no_temporary_folder),
    Case(68, "A", "other parameters", lambda b: _other_settings(b, "--set", "style_weight=2")),
    Case(68, "A", "another format", lambda b: _other_settings(b, "--format", "webp")),
    Case(
        68,
        "OK",
        "other parameters, and meant",
        lambda b: _other_settings(b, "--set", "style_weight=2", "--replace"),
    ),
    Case(68, "OK", "the same again", lambda b: _other_settings(b)),
)
