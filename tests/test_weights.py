import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import safetensors.torch
import torch
from torchvision.models import get_model_weights

from nst.errors import WeightsError
from nst.painting import weights
from nst.painting.backbones import load_backbone
from nst.profiles import DEFAULT_BACKBONE, PROFILES
from tests.forged import harmful_weights
from tests.helpers import random_state, refuse_looks


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for torchvision's downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("no network in this test")

    monkeypatch.setattr("torch.hub.urlopen", refuse)


@pytest.mark.parametrize(("backbone", "num_convs"), [("vgg16", 13), ("vgg19", 16)])
def test_both_vggs_are_embedded_and_their_digests_are_those_of_their_notices(
    backbone: str, num_convs: int, torch_home: Path, no_network: None
) -> None:
    file = weights.obtain(backbone)
    assert file.origin == "embedded"
    notice = (Path(file.uri).parent / "SOURCES.md").read_text()
    assert f"`{Path(file.uri).name}`" in notice
    assert file.digest in notice
    state = weights.load_state(file)
    assert len(state) == 2 * num_convs
    load_backbone(backbone, state, PROFILES[backbone].layers, device=torch.device("cpu"))


def test_the_default_backbone_needs_no_download() -> None:
    assert DEFAULT_BACKBONE in weights.EMBEDDED


def test_what_is_embedded_is_less_than_45_mb() -> None:
    """It is in every checkout and in every wheel."""
    files = (Path(weights.__file__).parent / "data").iterdir()
    assert sum(path.stat().st_size for path in files) < 45e6


def in_codes() -> dict[str, torch.Tensor]:
    """A layer as codes that leave no place of its table out, and its bias, which is plain."""
    generator = torch.Generator().manual_seed(0)
    return {
        "conv.weight.codes": torch.randperm(256, generator=generator).byte().view(4, 8, 4, 2),
        "conv.weight.table": torch.randn(256, generator=generator),
        "conv.bias": torch.randn(4, generator=generator),
    }


def loaded(folder: Path, state: dict[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    path = folder / "mine.safetensors"
    safetensors.torch.save_file(state, path)
    return weights.load_state(weights.obtain("resnet50", str(path)))


def test_codes_of_ones_own_file_are_looked_up_in_their_table(tmp_path: Path) -> None:
    saved = in_codes()
    state = loaded(tmp_path, saved)
    assert state.keys() == {"conv.weight", "conv.bias"}
    assert torch.equal(state["conv.bias"], saved["conv.bias"])
    values = saved["conv.weight.table"].tolist()
    expected = [values[code] for code in saved["conv.weight.codes"].flatten().tolist()]
    assert state["conv.weight"].shape == (4, 8, 4, 2)
    assert state["conv.weight"].flatten().tolist() == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"conv.weight.table": None},
            r"conv\.weight\.table beside conv\.weight\.codes, found none",
        ),
        (
            {"conv.weight.codes": None},
            r"conv\.weight\.codes beside conv\.weight\.table, found none",
        ),
        (
            {"conv.weight.codes": torch.zeros(4, 8, 4, 2)},
            r"conv\.weight\.codes of uint8, found float32 \[4, 8, 4, 2\]",
        ),
        (
            {"conv.weight.table": torch.zeros(255)},
            r"conv\.weight\.table of 256 float32 values, found float32 \[255\]",
        ),
        (
            {"conv.weight.table": torch.zeros(256, 1)},
            r"of 256 float32 values, found float32 \[256, 1\]",
        ),
        (
            {"conv.weight.table": torch.zeros(256, dtype=torch.float16)},
            r"of 256 float32 values, found float16 \[256\]",
        ),
        (
            {"conv.weight": torch.zeros(1)},
            r"either conv\.weight or its codes and table, found both",
        ),
    ],
    ids=["no table", "no codes", "kind of codes", "length", "shape", "kind of table", "plain too"],
)
def test_a_damaged_pair_of_codes_and_table_is_refused(
    tmp_path: Path, change: dict[str, torch.Tensor | None], said: str
) -> None:
    changed = in_codes() | change
    state = {key: value for key, value in changed.items() if value is not None}
    with pytest.raises(WeightsError, match=f"weights of resnet50: expected .*{said}") as caught:
        loaded(tmp_path, state)
    assert str(tmp_path / "mine.safetensors") in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_of_ones_own(tmp_path: Path, suffix: str) -> None:
    state = {"features.0.weight": torch.ones(2, 2)}
    path = tmp_path / f"mine{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    file = weights.obtain("vgg19", str(path))
    assert (file.origin, file.uri) == ("file", str(path))
    assert file.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert torch.equal(weights.load_state(file)["features.0.weight"], torch.ones(2, 2))


def test_a_file_on_s3(bucket: str) -> None:
    from nst import storage

    uri = f"{bucket}/weights/vgg19.safetensors"
    storage.write_bytes(uri, safetensors.torch.save({"a": torch.ones(1)}))
    assert torch.equal(weights.load_state(weights.obtain("vgg19", uri))["a"], torch.ones(1))


def publish(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have torchvision name a file of its own by this one."""
    address = f"https://download.example/models/{name}"

    class Official:
        url = address

        @staticmethod
        def get_state_dict(**options: Any) -> Any:
            return torch.hub.load_state_dict_from_url(address, **options)

    monkeypatch.setattr(
        "torchvision.models.get_model_weights", lambda _: {"IMAGENET1K_V1": Official}
    )


def put_in_cache(backbone: str, monkeypatch: pytest.MonkeyPatch, *, digest: str) -> Path:
    """A small state dict where torchvision keeps the weights of a name that begins this `digest`."""
    sink = io.BytesIO()
    torch.save({"a": torch.ones(1)}, sink)
    digest = digest or hashlib.sha256(sink.getvalue()).hexdigest()[:8]
    publish(monkeypatch, f"{backbone}-{digest}.pth")
    path = weights.cache_path(backbone)
    path.parent.mkdir(parents=True)
    path.write_bytes(sink.getvalue())
    return path


@pytest.mark.parametrize("backbone", sorted(PROFILES))
def test_torchvisions_cache_is_used(
    backbone: str, torch_home: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The official file under its official name, as a person without a network puts it there."""
    path = put_in_cache(backbone, monkeypatch, digest="")
    assert path.parent == torch_home / "hub/checkpoints"
    file = weights.obtain(backbone, "torchvision")
    assert (file.origin, file.uri) == ("torchvision", str(path))
    assert file.topology == ("torchvision" if backbone == "resnet50" else None)
    assert torch.equal(weights.load_state(file)["a"], torch.ones(1))


def test_a_cache_that_this_user_may_not_look_into_is_named(
    torch_home: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_cache("resnet50", monkeypatch, digest="")
    refuse_looks(monkeypatch, torch_home)
    with pytest.raises(WeightsError, match=r"weights of resnet50: cannot look at .* may not read"):
        weights.obtain("resnet50", "torchvision")


def test_another_file_under_the_official_name_is_refused(
    torch_home: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_in_cache("resnet50", monkeypatch, digest="0676ba61")
    with pytest.raises(WeightsError, match="begins with 0676ba61") as caught:
        weights.obtain("resnet50")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("backbone", sorted(PROFILES))
def test_torchvisions_names_hold_a_digest(backbone: str) -> None:
    assert weights._NAMED_DIGEST.search(weights.cache_path(backbone).name)


def test_a_file_is_held_to_the_digest_behind_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"a": torch.ones(1)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for text in (digest, digest.upper()):
        file = weights.obtain("vgg19", f"{path}#sha256={text}")
        assert (file.uri, file.digest) == (str(path), digest)
        assert torch.equal(weights.load_state(file)["a"], torch.ones(1))
    with pytest.raises(WeightsError, match=f"sha256 {'0' * 64}, found {digest}"):
        weights.obtain("vgg19", f"{path}#sha256={'0' * 64}")


@pytest.mark.parametrize("pin", ["", "dcbb9e9d", "z" * 64])
def test_half_a_digest_is_refused(tmp_path: Path, pin: str) -> None:
    with pytest.raises(WeightsError, match="expected the 64 hexadecimal digits"):
        weights.obtain("vgg19", f"{tmp_path}/a.pth#sha256={pin}")


def saved_as(path: Path, topology: str | None) -> str:
    """A safetensors file that says this of itself, and its path."""
    metadata = None if topology is None else {"topology": topology}
    safetensors.torch.save_file({"a": torch.ones(1)}, path, metadata)
    return str(path)


@pytest.mark.parametrize(
    ("in_the_file", "behind_it", "topology", "said_by"),
    [
        (None, "", "torchvision", None),
        ("torchvision", "", "torchvision", "file"),
        ("caffe", "", "caffe", "file"),
        ("caffe: stride 2 on the first convolution", "", "caffe", "file"),
        (None, "#topology=caffe", "caffe", "user"),
        ("caffe", "#topology=torchvision", "torchvision", "user"),
        ("another", "#topology=caffe", "caffe", "user"),
    ],
)
def test_the_topology_is_what_the_user_says_or_else_the_file_or_else_the_usual_one(
    tmp_path: Path, in_the_file: str | None, behind_it: str, topology: str, said_by: str | None
) -> None:
    path = saved_as(tmp_path / "r.safetensors", in_the_file)
    file = weights.obtain("resnet50", path + behind_it)
    assert (file.uri, file.topology, file.topology_said_by) == (path, topology, said_by)


def test_a_digest_and_a_topology_may_stand_behind_a_file_in_any_order(tmp_path: Path) -> None:
    path = saved_as(tmp_path / "r#1.safetensors", None)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    for said in (f"#sha256={digest}#topology=caffe", f"#topology=caffe#sha256={digest}"):
        file = weights.obtain("resnet50", path + said)
        assert (file.uri, file.digest, file.topology) == (path, digest, "caffe")
    with pytest.raises(WeightsError, match=f"sha256 {'0' * 64}, found {digest}"):
        weights.obtain("resnet50", f"{path}#topology=caffe#sha256={'0' * 64}")


@pytest.mark.parametrize(
    ("backbone", "in_the_file", "behind_it", "said"),
    [
        ("resnet50", None, "#topology=keras", "torchvision or caffe behind #topology=, found 'ker"),
        ("resnet50", None, "#topology=", "torchvision or caffe behind #topology=, found ''"),
        ("resnet50", "v1.5", "", "torchvision or caffe in the metadata of .*, found 'v1.5'"),
        ("resnet50", None, "#topology=caffe#topology=caffe", "once each"),
        ("vgg16", None, "#topology=caffe", "only resnet50 has more than one, found 'caffe' behind"),
        ("vgg19", "caffe", "", "only resnet50 has more than one, found 'caffe' in the metadata"),
    ],
)
def test_a_topology_that_a_backbone_does_not_have_is_refused(
    tmp_path: Path, backbone: str, in_the_file: str | None, behind_it: str, said: str
) -> None:
    path = saved_as(tmp_path / "r.safetensors", in_the_file)
    with pytest.raises(WeightsError, match=f"weights of {backbone}: expected .*{said}"):
        weights.obtain(backbone, path + behind_it)


@pytest.mark.parametrize(
    "head", [b"[" * 100_000, b"{}", b'{"__metadata__": []}', b'{"__metadata__": {"topology": 1}}']
)
def test_the_head_of_a_file_that_is_not_safetensors_says_nothing(
    tmp_path: Path, head: bytes
) -> None:
    (tmp_path / "r.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
    file = weights.obtain("resnet50", str(tmp_path / "r.safetensors"))
    assert (file.topology, file.topology_said_by) == ("torchvision", None)


def test_a_vgg_has_no_topology() -> None:
    assert weights.obtain("vgg16").topology is None


def test_the_official_weights_are_downloaded_through_torchvision(
    torch_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every part but the connection is real: the URL, the cache and the check of the digest."""
    sink = io.BytesIO()
    torch.save(random_state("resnet50"), sink)
    asked = []

    class Response(io.BytesIO):
        def info(self) -> Message:
            return Message()

    def answer(request: object, **_: object) -> Response:
        asked.append(getattr(request, "full_url", request))
        return Response(sink.getvalue())

    monkeypatch.setattr("torch.hub.urlopen", answer)
    with pytest.raises(WeightsError, match="invalid hash value"):
        weights.obtain("resnet50")
    assert asked == [get_model_weights("resnet50")["IMAGENET1K_V1"].url]
    # The same bytes pass where the file's name asks for no digest.
    publish(monkeypatch, "resnet50.pth")
    assert weights.obtain("resnet50").origin == "torchvision"
    assert weights.cache_path("resnet50").exists()


def test_weights_that_cannot_be_had_say_what_to_put_where(
    torch_home: Path, no_network: None
) -> None:
    with pytest.raises(WeightsError) as caught:
        weights.obtain("resnet50")
    message = str(caught.value)
    assert "no network in this test" in message
    assert str(weights.cache_path("resnet50")) in message
    assert "--weights resnet50=" in message
    assert not list(torch_home.rglob("*.pth"))


def test_without_download_nothing_is_asked(torch_home: Path, no_network: None) -> None:
    with pytest.raises(WeightsError, match="not here yet"):
        weights.obtain("resnet50", download=False)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.pth: there is no such file") as caught:
        weights.obtain("vgg19", str(tmp_path / "none.pth"))
    assert "Without --weights vgg19=... a run uses the embedded ones" in str(caught.value)
    with pytest.raises(WeightsError, match="A run downloads ResNet50_Weights"):
        weights.obtain("resnet50", str(tmp_path / "none.pth"))


def test_torchvisions_own_vgg19_that_cannot_be_downloaded_is_no_embedded_one(
    torch_home: Path, no_network: None
) -> None:
    with pytest.raises(WeightsError, match="no network in this test") as caught:
        weights.obtain("vgg19", "torchvision")
    assert f"put that file at {weights.cache_path('vgg19')}" in str(caught.value)


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare pickle", "tar"])
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_code_in_a_weights_file_is_not_run(tmp_path: Path, kind: str, name: str) -> None:
    canary = tmp_path / "canary"
    (tmp_path / name).write_bytes(harmful_weights(kind, canary))
    with pytest.raises(WeightsError, match="which is neither"):
        weights.load_state(weights.obtain("vgg19", str(tmp_path / name)))
    assert not canary.exists()


def test_the_code_in_these_weights_files_would_run(tmp_path: Path) -> None:
    """Or the test above would show nothing."""
    canary = tmp_path / "canary"
    pickle.loads(harmful_weights("bare pickle", canary))
    assert canary.exists()


def saved(**state: torch.Tensor) -> bytes:
    sink = io.BytesIO()
    torch.save(state, sink)
    return sink.getvalue()


def test_a_flipped_bit_in_a_state_dict_is_found(tmp_path: Path) -> None:
    data = bytearray(saved(a=torch.ones(100)))
    data[data.index(torch.ones(100).numpy().tobytes()) + 3] ^= 1
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(WeightsError, match=r"the checksum of .*/data/0 is wrong"):
        weights.load_state(weights.obtain("vgg19", str(tmp_path / "a.pth")))


def test_a_state_dict_that_was_packed_again_is_not_unpacked(tmp_path: Path) -> None:
    """What is compressed could be of any size out of it."""
    with (
        zipfile.ZipFile(io.BytesIO(saved(a=torch.ones(1)))) as before,
        zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as after,
    ):
        for entry in before.namelist():
            after.writestr(entry, before.read(entry))
    with pytest.raises(WeightsError, match="its parts are compressed"):
        weights.load_state(weights.obtain("vgg19", str(tmp_path / "a.pth")))


def test_a_safetensors_header_of_100_gb_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes((100 << 30).to_bytes(8, "little") + b"{}" * 50)
    with pytest.raises(WeightsError, match="which is neither"):
        weights.load_state(weights.obtain("vgg19", str(tmp_path / "a.safetensors")))


def test_a_file_larger_than_weights_are_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.pth").write_bytes(saved(a=torch.ones(1)))
    monkeypatch.setattr(weights, "MAX_BYTES", 100)
    with pytest.raises(WeightsError, match="100 bytes"):
        weights.obtain("vgg19", str(tmp_path / "a.pth"))


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"not weights at all", b"hello"])
def test_other_bytes_are_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(WeightsError, match="which is neither"):
        weights.load_state(weights.obtain("vgg19", str(tmp_path / name)))


def test_a_saved_model_is_no_state_dict(tmp_path: Path) -> None:
    for saved in ([torch.ones(1)], {1: torch.ones(1)}, {"a": "b"}):
        torch.save(saved, tmp_path / "a.pth")
        with pytest.raises(WeightsError, match="expected a mapping of names to tensors"):
            weights.load_state(weights.obtain("vgg19", str(tmp_path / "a.pth")))


def test_a_file_that_changes_under_a_run_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"a": torch.ones(1)}, path)
    file = weights.obtain("vgg19", str(path))
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="changed during the run"):
        weights.load_state(file)
