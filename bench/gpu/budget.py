"""What a GPU could paint a second by its rates alone: arithmetic, which measures nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.gpu.operations import Work, measuring_flops, work_of
from bench.measuring import table
from nst.job import PictureParams
from nst.profiles import PROFILES
from nst.scales import full_evaluations

SECTION = "Budget of a GPU"
SIZES_PX = (256, 512, 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a device computes and moves a second, each in an operation that does nothing else."""

    name: str
    product_flops: float
    float32_flops: float
    bytes_moved: float


# As others have measured them; its data sheet says 989 TFLOP/s and 3.35 TB/s. That of float32 is the
# data sheet's.
H100 = Rates(name="an H100", product_flops=750e12, float32_flops=67e12, bytes_moved=3e12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One evaluation of one picture, and what follows from it: seconds, and pictures a second."""

    backbone: str
    size_px: int
    flops: float
    pointwise_bytes: float
    fft_bytes: float
    product_s: float
    moving_s: float
    pyramid: float
    gatys: float

    @property
    def evaluation_s(self) -> float:
        return self.product_s + self.moving_s


def budget(backbone: str, size_px: int, work: Work, rates: Rates) -> Budget:
    """That of a square picture, if the device always works at its full rates, one after the other.

    A convolution computes while it moves its own numbers, and so takes whichever is longer.
    """
    pixels = size_px**2
    product_s = pixels * max(
        work.flops / rates.product_flops, work.product_bytes / rates.bytes_moved
    )
    moved = pixels * (work.other_bytes + work.fft_bytes) + work.once_bytes
    moving_s = moved / rates.bytes_moved
    evaluation_s = product_s + moving_s
    return Budget(
        backbone=backbone,
        size_px=size_px,
        flops=pixels * work.flops,
        pointwise_bytes=pixels * work.other_bytes + work.once_bytes,
        fft_bytes=pixels * work.fft_bytes,
        product_s=product_s,
        moving_s=moving_s,
        pyramid=1 / (evaluation_s * _evaluations(size_px, "pyramid")),
        gatys=1 / (evaluation_s * _evaluations(size_px, "gatys")),
    )


def _evaluations(size_px: int, method: str) -> int:
    """Of a picture at its own size, by the defaults; those at smaller sizes count as so much less."""
    return full_evaluations(size_px, size_px, PictureParams(size=size_px, method=method))  # type: ignore[arg-type]


def budgets(rates: Rates = H100) -> Iterator[Budget]:
    """Of each backbone at each size."""
    for name in PROFILES:
        for size_px in SIZES_PX:
            yield budget(name, size_px, work_of(name), rates)


def to_markdown(rates: Rates = H100) -> str:
    """The section: what was counted, and what follows from it."""
    found = list(budgets(rates))
    rows = [
        [
            *(each.backbone, each.size_px, f"{each.flops / 1e12:.3f}"),
            *(f"{each.pointwise_bytes / 1e9:.2f}", f"{each.fft_bytes / 1e9:.3f}"),
            *(f"{1e3 * each.product_s:.2f}", f"{1e3 * each.moving_s:.2f}"),
            *(f"{1e3 * each.evaluation_s:.2f}", f"{each.pyramid:.1f}", f"{each.gatys:.1f}"),
        ]
        for each in found
    ]
    header = [
        *("backbone", "px", "TFLOP", "GB pointwise", "GB FFT", "products ms", "the rest ms"),
        *("evaluation ms", "pictures a second", "method=gatys"),
    ]
    usual = next(each for each in found if (each.backbone, each.size_px) == ("vgg19", 512))
    measuring_s = measuring_flops() / rates.float32_flops
    return f"""**This is arithmetic, not a measurement**: no line of it ran on a GPU. By `python -m bench.gpu --budget`.

Counted: the floating-point operations of one evaluation of one square picture (the network there and back, the Grams and their pull, the search for neighbours), by PyTorch's `FlopCounterMode`; and the bytes that
each of the other operations reads and writes (ReLUs, poolings, losses, L-BFGS with a full history, and weights and Grams; apart from them the Fourier transforms), one by one, as PyTorch runs them, with features in bfloat16 and all else in float32. It is counted where the engine goes on a CPU, which turns features to float32 for the Grams; where it does otherwise on a GPU, it moves less there.
Computed: the time at the rates of {rates.name}, {rates.product_flops / 1e12:.0f} TFLOP/s in products of bfloat16 matrices and {rates.bytes_moved / 1e12:g} TB/s, as others have measured them; products first, then the rest, with no gap between operations.
A picture of the default method takes as long as {_evaluations(512, "pyramid")} evaluations at its own size at 512 px, one of `method=gatys` as long as {_evaluations(512, "gatys")}.

{table(header, rows)}

No device reaches this: small sizes leave most of it idle, operations start one after the other, and convolutions seldom reach the rate of a large product.
**Operations that compute next to nothing take {usual.moving_s / usual.evaluation_s:.0%} of an evaluation of VGG-19 at 512 px**, so that even at these rates it would use only {usual.flops / rates.product_flops / usual.evaluation_s:.0%} of the rate of products: more than that needs fewer passes over the same numbers, not faster convolutions.
At half of these rates, VGG-19 at 512 px makes {usual.pyramid / 2:.0f} pictures a second, and {usual.gatys / 2:.0f} of `method=gatys`. So many must be decoded, measured and encoded in the same second.
To measure a picture takes {measuring_flops() / 1e9:.0f} GFLOP, always in float32: {1e3 * measuring_s:.2f} ms at {rates.float32_flops / 1e12:.0f} TFLOP/s, {measuring_s * usual.pyramid:.1%} of the time of painting it. For what decoding and encoding take, see [below](#decoding-and-encoding).
"""
