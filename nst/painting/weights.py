"""The sources of each backbone's weights; reads them without running any code in them."""

import hashlib
import io
import json
import re
import socket
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nst import storage
from nst.errors import ForbiddenError, StorageError, WeightsError
from nst.profiles import PROFILES, Topology

# torch and torchvision take seconds to import, which a plan of embedded weights need not wait for.
if TYPE_CHECKING:
    from torch import Tensor
    from torchvision.models import WeightsEnum

TORCHVISION = "torchvision"
# Eight times the largest of torchvision's own.
MAX_BYTES = 4 << 30
_DATA = Path(__file__).parent / "data"
# The convolutions of both VGGs, so that a first run downloads nothing; see data/SOURCES.md.
EMBEDDED = {
    "vgg16": _DATA / "vgg16-imagenet1k-v1-features-8bit.safetensors",
    "vgg19": _DATA / "vgg19-original-features-8bit.safetensors",
}

_LPIPS_HEADS = _DATA / "lpips-vgg16-heads.safetensors"

# A layer in a quarter of the bytes: `NAME.codes` are places in `NAME.table`, of as many values as a
# byte has.
_CODES, _TABLE = ".codes", ".table"
_TABLE_LENGTH = 256

# Behind a file or URL, the sha256 that it is to have, and what it is for.
_CHOICE = re.compile(r"(?P<uri>.+?)(?P<said>(#(sha256|topology)=[^#]*)*)")
_DIGEST = re.compile(r"[0-9a-f]{64}")
# The beginning of its sha256, which torchvision puts into the name of a file.
_NAMED_DIGEST = re.compile(r"-(?P<digest>[0-9a-f]{8,})\.pth$")

_DOWNLOAD_TIMEOUT_S = 30
# The timeout belongs to the whole process while it is set.
_one_download = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """A weights file that can be read, and the sha256 of its bytes.

    `topology` is one of the backbone's, or None if it has only one. `topology_said_by` is the source
    of that, or None if the usual topology is assumed.
    """

    backbone: str
    origin: Literal["embedded", "torchvision", "file"]
    uri: str
    digest: str
    topology: Topology | None = None
    topology_said_by: Literal["user", "file"] | None = None


def obtain(backbone: str, choice: str | None = None, *, download: bool = True) -> WeightsFile:
    """The weights of `backbone`: `choice` is a file or URL, `torchvision`, or None for the default.

    A file or URL may be followed by `#sha256=` and 64 digits; any other file is then refused. It may
    also be followed by `#topology=`, which overrides the metadata of a safetensors file. The default
    is the embedded file if there is one, and torchvision's download otherwise.
    Raises WeightsError, with what to put where, if the weights are missing; without `download`,
    torchvision's are missing if they are not in its cache.
    """
    if choice is not None and choice != TORCHVISION:
        return _chosen(backbone, choice)
    if choice is None and backbone in EMBEDDED:
        uri = str(EMBEDDED[backbone])
        digest = _sha256(storage.read_bytes(uri))
        return WeightsFile(backbone=backbone, origin="embedded", uri=uri, digest=digest)
    path = cache_path(backbone)
    if not _is_here(backbone, path):
        if not download:
            raise WeightsError(f"weights of {backbone}: not here yet. {how_to_get(backbone)}")
        _download(backbone)
    digest = _sha256(storage.read_bytes(str(path)))
    # Its download was compared with it, what else came to lie there was not.
    named = _NAMED_DIGEST.search(path.name)
    if named and not digest.startswith(named["digest"]):
        raise WeightsError(
            f"weights of {backbone}: expected a sha256 that begins with {named['digest']}, as the "
            f"name of {path} has it, found {digest}; delete that file, and a run downloads it again"
        )
    return WeightsFile(
        backbone=backbone,
        origin="torchvision",
        uri=str(path),
        digest=digest,
        topology=PROFILES[backbone].usual_topology,
    )


def _chosen(backbone: str, choice: str) -> WeightsFile:
    """The file that a user named, checked against its `#sha256=` and `#topology=`."""
    uri, said = _parted(backbone, choice)
    expected = said["sha256"].lower() if "sha256" in said else None
    if expected is not None and not _DIGEST.fullmatch(expected):
        raise WeightsError(
            f"weights of {backbone}: expected the 64 hexadecimal digits of a sha256 behind "
            f"#sha256=, found {expected!r}"
        )
    topology = _topology(backbone, said.get("topology"), "behind #topology=")
    data = _read(backbone, uri)
    digest = _sha256(data)
    if expected not in (None, digest):
        raise WeightsError(
            f"weights of {backbone}: expected {uri} with the sha256 {expected}, found {digest}; "
            "get that file again, or give the digest of the file that you mean"
        )
    said_by: Literal["user", "file"] | None = "user" if topology else None
    if topology is None and uri.endswith(".safetensors"):
        topology = _topology(backbone, _topology_entry(data), f"in the metadata of {uri}")
        said_by = "file" if topology else None
    return WeightsFile(
        backbone=backbone,
        origin="file",
        uri=uri,
        digest=digest,
        topology=topology or PROFILES[backbone].usual_topology,
        topology_said_by=said_by,
    )


def _parted(backbone: str, choice: str) -> tuple[str, dict[str, str]]:
    """The file or URL, and the values behind it by their names."""
    parts = _CHOICE.fullmatch(choice)
    if parts is None:
        return choice, {}
    pairs = [pair.partition("=") for pair in parts["said"].split("#")[1:]]
    said = {name: value for name, _, value in pairs}
    if len(said) < len(pairs):
        raise WeightsError(
            f"weights of {backbone}: expected #sha256= and #topology= once each, found "
            f"{parts['said']!r}"
        )
    return parts["uri"], said


def _topology(backbone: str, text: str | None, where: str) -> Topology | None:
    """A topology of the backbone by its name, which a colon and a remark may follow."""
    if text is None:
        return None
    known = PROFILES[backbone].topologies
    named = text.partition(":")[0].strip()
    for topology in known:
        if named == topology:
            return topology
    if known:
        raise WeightsError(
            f"weights of {backbone}: expected {' or '.join(known)} {where}, found {text!r}; say "
            f"which it is behind the file, as in --weights {backbone}=FILE-OR-URL#topology={known[-1]}"
        )
    having = [profile.name for profile in PROFILES.values() if profile.topologies]
    raise WeightsError(
        f"weights of {backbone}: expected no topology, since only {', '.join(having)} has more "
        f"than one, found {text!r} {where}; leave it out"
    )


def _topology_entry(data: bytes) -> str | None:
    """The topology in the metadata of a safetensors file, if there is one."""
    end = 8 + int.from_bytes(data[:8], "little")
    try:
        text = json.loads(data[8:end])["__metadata__"]["topology"]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        # One that is not even a safetensors file is refused when it is loaded.
        return None
    return text if isinstance(text, str) else None


def load_state(file: WeightsFile) -> Mapping[str, "Tensor"]:
    """The state dict of `file`.

    A safetensors file may hold a tensor `NAME` as `NAME.codes`, uint8 of the tensor's shape, and
    `NAME.table`, float32 [256]: each code stands for the table's value at that place. The state dict
    has `NAME` itself, in float32.
    Raises WeightsError if the file has changed since it was obtained, or is not a state dict.
    """
    import torch

    data = _read(file.backbone, file.uri)
    if _sha256(data) != file.digest:
        raise WeightsError(
            f"weights of {file.backbone}: {file.uri} changed during the run; expected sha256 "
            f"{file.digest}, found {_sha256(data)}"
        )
    is_safetensors = file.uri.endswith(".safetensors")
    try:
        state = _parsed(data, is_safetensors=is_safetensors)
    except Exception as exc:
        # On bytes that are no state dict, PyTorch's reader raises whatever they lead it to.
        raise WeightsError(
            f"weights of {file.backbone}: expected a safetensors file or a PyTorch state dict, "
            f"found {file.uri}, which is neither: {_said(exc)}"
        ) from exc
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise WeightsError(
            f"weights of {file.backbone}: expected a mapping of names to tensors in {file.uri}, "
            f"found {type(state).__name__}; save model.state_dict(), not the model"
        )
    return _decoded(file, state) if is_safetensors else state


def _decoded(file: WeightsFile, state: Mapping[str, "Tensor"]) -> Mapping[str, "Tensor"]:
    """`state` with each pair of codes and table replaced by one tensor of values."""
    ends = (_CODES, _TABLE)
    names = dict.fromkeys(key.rpartition(".")[0] for key in state if key.endswith(ends))
    decoded = {key: value for key, value in state.items() if not key.endswith(ends)}
    for name in names:
        expected = _pair_objection(name, state)
        if expected:
            raise WeightsError(
                f"weights of {file.backbone}: expected {expected}, in {file.uri}; "
                "get that file again, or save the layer without codes"
            )
        codes, table = state[name + _CODES], state[name + _TABLE]
        # The quickest of torch's ways to look many up: 40 ms for VGG-19, table[codes.long()] 370 ms.
        decoded[name] = table.index_select(0, codes.flatten().int()).view(codes.shape)
    return decoded


def _pair_objection(name: str, state: Mapping[str, "Tensor"]) -> str | None:
    """What was expected of the codes and table `name`, and what was found; None if they are valid."""
    import torch

    codes, table = state.get(name + _CODES), state.get(name + _TABLE)
    if codes is None or table is None:
        there, missing = (_TABLE, _CODES) if codes is None else (_CODES, _TABLE)
        return f"{name}{missing} beside {name}{there}, found none"
    if name in state:
        return f"either {name} or its codes and table, found both"
    if codes.dtype != torch.uint8:
        return f"{name}{_CODES} of uint8, found {_kind(codes)}"
    if table.dtype != torch.float32 or table.shape != (_TABLE_LENGTH,):
        return f"{name}{_TABLE} of {_TABLE_LENGTH} float32 values, found {_kind(table)}"
    return None


def _kind(tensor: "Tensor") -> str:
    """Type and shape for a message, such as `float32 [2, 3]`."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _parsed(data: bytes, *, is_safetensors: bool) -> Any:
    """The content of a file, read without running any code in it. May raise any exception."""
    import safetensors.torch
    import torch

    if is_safetensors:
        return safetensors.torch.load(data)
    if zipfile.is_zipfile(io.BytesIO(data)):
        _check_zip(data)
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _check_zip(data: bytes) -> None:
    """Raises BadZipFile for a file that torch.save has not written; PyTorch checks no checksums."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        # Before their checksums, which take reading them out: a small one could hold any amount.
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise zipfile.BadZipFile("its parts are compressed, which torch.save does not do")
        damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong; copy it again")


def load_lpips_heads() -> tuple["Tensor", ...]:
    """The linear heads of LPIPS v0.1 for VGG-16, one [C] for each of its layers."""
    import safetensors.torch

    state = safetensors.torch.load(_LPIPS_HEADS.read_bytes())
    return tuple(state[f"lin{i}"] for i in range(len(state)))


def cache_path(backbone: str) -> Path:
    """The path at which torchvision stores the official weights after its download."""
    import torch

    url: str = _official(backbone).url
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def how_to_get(backbone: str) -> str:
    """Instructions for a user whose weights for `backbone` are missing."""
    official = _official(backbone)
    default = f"A run downloads {official} from {official.url} by itself"
    if backbone in EMBEDDED:
        default = (
            f"Without --weights {backbone}=... a run uses the embedded ones, and with --weights "
            f"{backbone}={TORCHVISION} it downloads {official} from {official.url}"
        )
    return (
        f"{default}; without a network, put that file at {cache_path(backbone)}, or name a "
        f"safetensors or state dict file of your own with --weights {backbone}=FILE-OR-URL"
    )


def _official(backbone: str) -> "WeightsEnum":
    from torchvision.models import get_model_weights

    return get_model_weights(backbone)["IMAGENET1K_V1"]


def _is_here(backbone: str, path: Path) -> bool:
    """Whether a file is in the cache. Raises WeightsError where this user may not look there."""
    try:
        return storage.exists(str(path))
    except ForbiddenError as exc:
        raise WeightsError(f"weights of {backbone}: {exc}. {how_to_get(backbone)}") from exc


def _download(backbone: str) -> None:
    try:
        with _one_download, _socket_timeout(_DOWNLOAD_TIMEOUT_S):
            _official(backbone).get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as exc:
        raise WeightsError(
            f"weights of {backbone}: the download failed ({exc}). {how_to_get(backbone)}"
        ) from exc


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Set a timeout: torch's downloader has none, and would wait for ever if packets are dropped."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _read(backbone: str, uri: str) -> bytes:
    try:
        return storage.read_bytes(uri, max_bytes=MAX_BYTES)
    except StorageError as exc:
        if exc.ends_the_run:
            raise
        raise WeightsError(f"weights of {backbone}: {exc}. {how_to_get(backbone)}") from exc


def _said(error: Exception) -> str:
    """The first line of an error; PyTorch adds paragraphs about trusting files."""
    return (str(error) or type(error).__name__).splitlines()[0]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
