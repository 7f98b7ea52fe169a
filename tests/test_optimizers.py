from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nst.painting.objective import Objective
from nst.painting.optimizers import (
    LBFGS,
    OPTIMIZERS,
    Adam,
    FixedLBFGS,
    Frequencies,
    InverseFrequencies,
)
from nst.painting.targets import Item
from tests.helpers import item, vgg16

# Odd, even and mixed; an item of the last ones is long enough to be summed in pieces.
SIZES = [(5, 7), (6, 8), (5, 8), (33, 47), (96, 128)]


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def quadratic(curvatures: Tensor, minimum: Tensor, images: Tensor) -> Tensor:
    """The gradient of 1/2 (x - minimum)' diag(curvatures) (x - minimum), for images [B,C,H,W]."""
    return curvatures * (images - minimum)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_reaches_the_minimum_of_a_badly_scaled_quadratic(name: str) -> None:
    curvatures = torch.logspace(-2, 0, 50).view(1, 1, 5, 10).repeat(2, 1, 1, 1)
    minimum = torch.linspace(0.2, 0.8, 50).view(1, 1, 5, 10).repeat(2, 1, 1, 1)
    images = torch.full((2, 1, 5, 10), 0.5)
    optimizer = OPTIMIZERS[name](images)
    for _ in range(300):
        images = optimizer.step(quadratic(curvatures, minimum, images))
    torch.testing.assert_close(images, minimum, atol=0.01, rtol=0)


def test_lbfgs_needs_far_fewer_steps_than_adam() -> None:
    curvatures = torch.logspace(-3, 0, 50).view(1, 1, 5, 10)
    minimum = torch.linspace(0.2, 0.8, 50).view(1, 1, 5, 10)
    errors = {}
    for name, make in OPTIMIZERS.items():
        images = torch.full((1, 1, 5, 10), 0.5)
        optimizer = make(images)
        for _ in range(40):
            images = optimizer.step(quadratic(curvatures, minimum, images))
        errors[name] = (curvatures * (images - minimum) ** 2).sum().item()
    assert errors["lbfgs"] < errors["adam"] / 10


def steps_of_torchs_own(
    start: Tensor, curvatures: Tensor, minimum: Tensor, num_steps: int
) -> list[Tensor]:
    """Images [C,H,W] that torch.optim.LBFGS comes by, when what it moves is a scaled spectrum.

    z is moved where the image is F^-1 diag(f^-1/2) F z; F is the Fourier transform.
    """
    height, width = start.shape[-2:]
    scales = InverseFrequencies()(height, width, device=start.device).double().sqrt()

    def scaled(x: Tensor, by: Tensor) -> Tensor:
        found: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * by, s=(height, width))
        return found

    z = torch.nn.Parameter(scaled(start, 1 / scales))
    # Both transforms are symmetric, so that the gradient comes back by the same way.
    gradient = scaled(quadratic(curvatures, minimum, start), scales)
    # torch's first step is lr * min(1, 1/|g|_1) * g; this lr makes it as long as ours.
    length = LBFGS.FIRST_STEP_RMS / scaled(gradient, scales).square().mean().sqrt()
    optimizer = torch.optim.LBFGS(
        [z],
        lr=float(length * max(1.0, float(gradient.abs().sum()))),
        max_iter=1,
        history_size=LBFGS.HISTORY,
        tolerance_grad=0,
        tolerance_change=0,
    )

    def closure() -> Tensor:
        image = scaled(z.detach(), scales)
        z.grad = scaled(quadratic(curvatures, minimum, image), scales)
        return (curvatures * (image - minimum) ** 2).sum() / 2

    found = []
    for _ in range(num_steps):
        optimizer.step(closure)  # type: ignore[no-untyped-call]
        optimizer.param_groups[0]["lr"] = 1.0
        found.append(scaled(z.detach(), scales))
    return found


@pytest.mark.parametrize("size", [(5, 7), (6, 8), (5, 8)])
def test_lbfgs_takes_the_steps_of_torchs_own_in_a_scaled_fourier_basis(
    size: tuple[int, int],
) -> None:
    """In the middle of [0, 1], where nothing is projected, and with steps too short to shorten.

    Ours moves a batch, torch's each item by itself, and both take the same length of first step.
    """
    batch = (3, 2, *size)
    curvatures = 0.3 + random(*batch, seed=0, dtype=torch.float64)
    minimum = 0.4 + 0.2 * random(*batch, seed=1, dtype=torch.float64)
    images = torch.full(batch, 0.5, dtype=torch.float64)
    theirs = [
        steps_of_torchs_own(*each, num_steps=15)
        for each in zip(images, curvatures, minimum, strict=True)
    ]
    optimizer = LBFGS(images)
    for step in range(15):
        images = optimizer.step(quadratic(curvatures, minimum, images))
        expected = torch.stack([steps[step] for steps in theirs])
        torch.testing.assert_close(images, expected, atol=1e-9, rtol=0)
    # They were still under way, and not where everything ends up.
    assert not torch.allclose(images, minimum, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_the_filter_weighs_frequencies_by_their_inverse(size: tuple[int, int]) -> None:
    height, width = size
    weights = InverseFrequencies()(height, width, device=torch.device("cpu"))
    assert weights.shape == torch.fft.rfft2(torch.zeros(size)).shape
    assert weights.mean().item() == pytest.approx(1, rel=1e-5)
    two_down, two_across = weights[2, 0].item(), weights[0, 2].item()
    assert weights[1, 0].item() == pytest.approx(2 * two_down, rel=1e-5)
    assert two_down / two_across == pytest.approx(height / width, rel=1e-5)
    both = (two_down**-2 + two_across**-2) ** -0.5
    assert weights[2, 2].item() == pytest.approx(both, rel=1e-5)
    # What has no frequency counts as one wave along the longer side.
    longest = weights[1, 0] if height > width else weights[0, 1]
    assert weights[0, 0].item() == pytest.approx(longest.item(), rel=1e-5)
    assert weights.max() == weights[0, 0]


@pytest.mark.parametrize("size", [(48, 64), (45, 61)])
def test_fine_structure_along_rows_and_columns_is_trusted_less(size: tuple[int, int]) -> None:
    """A wave is along an axis if its frequency is: of rows, or of columns, all alike."""
    height, width = size
    device = torch.device("cpu")
    plain = InverseFrequencies()(height, width, device=device)
    share = InverseFrequencies(0.2)(height, width, device=device) / plain
    third = height // 3, width // 3
    assert share[third[0], 0].item() == pytest.approx(0.2, abs=1e-3)
    assert share[-third[0], 0].item() == pytest.approx(0.2, abs=1e-3)
    assert share[0, third[1]].item() == pytest.approx(0.2, abs=1e-3)
    assert share[third].item() == pytest.approx(1, abs=1e-3)
    # What is coarse is trusted wherever it lies.
    torch.testing.assert_close(share[:3, :3], torch.ones(3, 3))


def best_loss(one: Item, num_evaluations: int, frequencies: Frequencies | None = None) -> float:
    """Of L-BFGS on a real picture."""
    objective = Objective.of([one], vgg16())
    images = one.content[None]
    optimizer = LBFGS(images, frequencies=frequencies)
    totals = []
    for _ in range(num_evaluations):
        found, gradient = objective(images)
        totals.append(found.total.item())
        images = optimizer.step(gradient)
    return min(totals)


@pytest.mark.parametrize("method", ["pyramid", "gatys"])
@pytest.mark.parametrize("pictures", [0, 1])
def test_the_filter_saves_a_third_of_the_evaluations_of_a_real_objective(
    pictures: int, method: str
) -> None:
    one = item(pictures, method=method)
    filtered = best_loss(one, 20)

    def flat(height: int, width: int, *, device: torch.device) -> Tensor:
        return torch.ones(height, width // 2 + 1, device=device)

    assert filtered < best_loss(one, 30, flat)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize("size", SIZES)
def test_items_of_a_batch_move_as_if_alone_to_the_bit(name: str, size: tuple[int, int]) -> None:
    batch = (4, 3, *size)
    curvatures = random(*batch, seed=0) + 0.01
    minimum = random(*batch, seed=1) * 1.4 - 0.2
    start = random(*batch, seed=2)

    def run(items: slice) -> Tensor:
        images = start[items]
        optimizer = OPTIMIZERS[name](images)
        for _ in range(13):
            images = optimizer.step(quadratic(curvatures[items], minimum[items], images))
        return images

    together = run(slice(None))
    for i in range(4):
        assert torch.equal(run(slice(i, i + 1))[0], together[i])


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_stays_within_the_range_of_pixels_and_finds_the_minimum_on_its_edge(name: str) -> None:
    minimum = torch.tensor([-1.0, 0.5, 2.0]).view(1, 1, 1, 3)
    images = torch.full((1, 1, 1, 3), 0.5)
    optimizer = OPTIMIZERS[name](images)
    for _ in range(100):
        images = optimizer.step(quadratic(torch.ones(1, 1, 1, 3), minimum, images))
        assert images.min() >= 0
        assert images.max() <= 1
    torch.testing.assert_close(images, minimum.clamp(0, 1), atol=1e-3, rtol=0)


def test_a_zero_gradient_moves_nothing() -> None:
    for make in (LBFGS, Adam):
        images = torch.full((2, 3, 5, 4), 0.5)
        optimizer = make(images)
        for _ in range(3):
            assert torch.equal(optimizer.step(torch.zeros(2, 3, 5, 4)), images)


def test_a_bad_pair_of_one_item_leaves_the_others_alone() -> None:
    """Item 0 sees a concave function, of which no curvature pair is usable."""
    curvatures = torch.tensor([[-1.0, -1.0], [1.0, 0.1]]).view(2, 1, 1, 2)
    minimum = torch.tensor([[0.5, 0.5], [0.3, 0.7]]).view(2, 1, 1, 2)
    images = torch.tensor([[0.6, 0.4], [0.5, 0.5]]).view(2, 1, 1, 2)
    optimizer = LBFGS(images)
    for _ in range(50):
        images = optimizer.step(quadratic(curvatures, minimum, images))
    assert images.isfinite().all()
    torch.testing.assert_close(images[1], minimum[1], atol=1e-3, rtol=0)


def test_projection_finds_the_best_point_within_the_bounds_where_pixels_pull_on_each_other() -> (
    None
):
    """Clamping alone stops short of it. The reference is projected gradient descent, run to its end."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn((40, 40), generator=generator, dtype=torch.float64)
    hessian = a @ a.T / 40 + 0.05 * torch.eye(40, dtype=torch.float64)
    minimum = torch.rand(40, generator=generator, dtype=torch.float64) * 2 - 0.5

    def value(x: Tensor) -> float:
        return float((x - minimum) @ hessian @ (x - minimum) / 2)

    best = torch.full((40,), 0.5, dtype=torch.float64)
    step = 1 / torch.linalg.eigvalsh(hessian).max()
    for _ in range(20_000):
        best = (best - step * hessian @ (best - minimum)).clamp(0, 1)
    images = torch.full((1, 1, 5, 8), 0.5, dtype=torch.float64)
    optimizer = LBFGS(images)
    for _ in range(200):
        gradient = (images.flatten() - minimum) @ hessian
        images = optimizer.step(gradient.view(images.shape))
    assert value(images.flatten()) == pytest.approx(value(best), rel=1e-3)


def test_lengths_of_the_first_step_and_of_the_longest() -> None:
    start = torch.full((1, 1, 20, 50), 0.5)
    optimizer = LBFGS(start)
    first = optimizer.step(torch.ones_like(start))
    rms = (first - start).square().mean().sqrt().item()
    assert rms == pytest.approx(LBFGS.FIRST_STEP_RMS, rel=1e-4)
    # A gradient that hardly changed promises a minimum far away.
    second = optimizer.step(torch.full_like(start, 0.999))
    rms = (second - first).square().mean().sqrt().item()
    assert rms == pytest.approx(LBFGS.MAX_STEP_RMS, rel=1e-4)


class Transforms(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts Fourier transforms."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.number = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.number += func.overloadpacket.__name__ in ("_fft_r2c", "_fft_c2r")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("batch", [1, 5])
def test_a_gpu_transforms_all_items_at_once(batch: int) -> None:
    """By a device that is no CPU and has no values; a CPU transforms one item after the other."""
    images = torch.empty(batch, 3, 8, 6, device="meta")
    optimizer = LBFGS(images)
    optimizer.step(torch.empty_like(images))
    with Transforms() as mode:
        optimizer.step(torch.empty_like(images))
    # There and back, of the change and of the direction.
    assert mode.number == 4


def test_the_fixed_sequence_of_lbfgs_takes_the_same_steps_and_begins_anew() -> None:
    """Beyond a whole history; at the borders of [0, 1], and of an item without positive curvature."""
    shape = (3, 2, 6, 8)
    curvatures = 0.3 + random(*shape, seed=0, dtype=torch.float64)
    curvatures[2] *= -1
    fixed = FixedLBFGS(torch.zeros(shape, dtype=torch.float64))
    for seed in (1, 2):
        minimum = 1.4 * random(*shape, seed=seed, dtype=torch.float64) - 0.2
        images = random(*shape, seed=seed + 5, dtype=torch.float64)
        plain = LBFGS(images)
        fixed.begin(images)
        for _ in range(LBFGS.HISTORY + 5):
            gradient = quadratic(curvatures, minimum, images)
            images = plain.step(gradient)
            assert fixed.step(gradient) is fixed.images
            torch.testing.assert_close(fixed.images, images, atol=1e-9, rtol=0)
        assert ((images == 0) | (images == 1)).any()
