"""What is compared: pairs of sample pictures, at one size, each as one PNG that both programs get."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from nst.pictures.images import fitted_size

ROOT = Path(__file__).parent.parent

_SAMPLES = ROOT / "manifests/samples"


@dataclass(frozen=True, slots=True)
class Pair:
    """A content and a style, by their names among the samples."""

    content: str
    style: str

    @property
    def id(self) -> str:
        return f"{self.content}_{self.style}"

    @property
    def content_source(self) -> Path:
        return _SAMPLES / f"content/{self.content}.jpg"

    @property
    def style_source(self) -> Path:
        return _SAMPLES / f"style/{self.style}.jpg"

    @property
    def content_file(self) -> str:
        return f"content-{self.content}.png"

    @property
    def style_file(self) -> str:
        return f"style-{self.style}.png"


# All contents and all styles among the samples. The peer's style weight is chosen on the first.
PAIRS = (
    Pair("summer-palace", "starry-night"),
    Pair("chelsea", "night-cafe"),
    Pair("rocket", "the-scream"),
    Pair("coffee", "great-wave"),
    Pair("chelsea", "shipwreck"),
    Pair("summer-palace", "great-wave"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for every pair; `evaluations` are the peer's."""

    size_px: int
    evaluations: int
    device: str


def prepare(pairs: Iterable[Pair], folder: Path, *, size_px: int) -> None:
    """Write the pictures of the pairs, so that neither program has to resize any."""
    for pair in pairs:
        _resize(pair.content_source, folder / pair.content_file, size_px)
        _resize(pair.style_source, folder / pair.style_file, size_px)


def _resize(source: Path, target: Path, size_px: int) -> None:
    with Image.open(source) as image:
        height, width = fitted_size(image.height, image.width, size_px)
        resized = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    resized.save(target)
