import hashlib
import io
import re
from email.message import Message
from pathlib import Path
from urllib.error import URLError

import pytest
import safetensors.torch
import torch

from nst import weights
from nst.errors import WeightsError
from nst.profiles import PROFILES
from tests.helpers import random_state


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


def test_vgg16_is_embedded_and_its_digest_is_that_of_its_notice() -> None:
    file = weights.obtain("vgg16")
    assert file.origin == "embedded"
    notice = (Path(file.uri).parent / "SOURCES.md").read_text()
    assert file.digest in notice
    state = weights.load_state(file)
    assert len(state) == 26
    assert state["features.28.weight"].shape == (512, 512, 3, 3)


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


@pytest.mark.parametrize("backbone", sorted(PROFILES))
def test_torchvisions_cache_is_used(backbone: str, torch_home: Path, no_network: None) -> None:
    """The official file under its official name, as a person without a network puts it there."""
    path = weights.cache_path(backbone)
    assert path.parent == torch_home / "hub/checkpoints"
    path.parent.mkdir(parents=True)
    torch.save({"a": torch.ones(1)}, path)
    file = weights.obtain(backbone, "torchvision")
    assert (file.origin, file.uri) == ("torchvision", str(path))
    assert torch.equal(weights.load_state(file)["a"], torch.ones(1))


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
    assert asked == [weights._official("resnet50").url]
    # The same bytes pass where the file's name asks for no digest.
    monkeypatch.setattr("torch.hub.HASH_REGEX", re.compile(r"(?!)"))
    assert weights.obtain("resnet50").origin == "torchvision"
    assert weights.cache_path("resnet50").exists()


def test_weights_that_cannot_be_had_say_what_to_put_where(
    torch_home: Path, no_network: None
) -> None:
    with pytest.raises(WeightsError) as caught:
        weights.obtain("vgg19")
    message = str(caught.value)
    assert "no network in this test" in message
    assert str(weights.cache_path("vgg19")) in message
    assert "--weights vgg19=" in message
    assert not list(torch_home.rglob("*.pth"))


def test_without_download_nothing_is_asked(torch_home: Path, no_network: None) -> None:
    with pytest.raises(WeightsError, match="not here yet"):
        weights.obtain("vgg19", download=False)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.pth: there is no such file"):
        weights.obtain("vgg19", str(tmp_path / "none.pth"))


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code of a weights file ran",))


def test_code_in_a_weights_file_is_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "harmful.pth"
    torch.save({"a": _Harmful()}, path)
    with pytest.raises(WeightsError, match="which is neither"):
        weights.load_state(weights.obtain("vgg19", str(path)))
    assert capsys.readouterr().out == ""


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
