import pytest
import torch
from torch import Tensor

from nst.optimizers import LBFGS, OPTIMIZERS, Adam


def quadratic(curvatures: Tensor, minimum: Tensor, z: Tensor) -> Tensor:
    """The gradient of 1/2 (z - minimum)' diag(curvatures) (z - minimum), for items [B,N]."""
    return curvatures * (z - minimum)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_reaches_the_minimum_of_a_badly_scaled_quadratic(name: str) -> None:
    curvatures = torch.logspace(-2, 0, 50).repeat(2, 1)
    minimum = torch.linspace(0.2, 0.8, 50).repeat(2, 1)
    z = torch.full((2, 50), 0.5)
    optimizer = OPTIMIZERS[name](z)
    for _ in range(300):
        z = optimizer.step(quadratic(curvatures, minimum, z))
    torch.testing.assert_close(z, minimum, atol=0.01, rtol=0)


def test_lbfgs_needs_far_fewer_steps_than_adam() -> None:
    curvatures = torch.logspace(-3, 0, 50)[None]
    minimum = torch.linspace(0.2, 0.8, 50)[None]
    errors = {}
    for name, make in OPTIMIZERS.items():
        z = torch.full((1, 50), 0.5)
        optimizer = make(z)
        for _ in range(40):
            z = optimizer.step(quadratic(curvatures, minimum, z))
        errors[name] = (curvatures * (z - minimum) ** 2).sum().item()
    assert errors["lbfgs"] < errors["adam"] / 10


def test_lbfgs_takes_the_steps_of_torchs_own_once_both_have_taken_the_same_first_one() -> None:
    """In the middle of [0, 1], where nothing is projected, and with steps too short to shorten."""
    curvatures = torch.logspace(-1, 0, 20, dtype=torch.float64)
    minimum = torch.linspace(0.4, 0.6, 20, dtype=torch.float64)
    start = torch.full((20,), 0.5, dtype=torch.float64)

    ours = [start]
    optimizer = LBFGS(start[None])
    for _ in range(12):
        ours.append(optimizer.step(quadratic(curvatures, minimum, ours[-1])[None])[0])

    gradient = quadratic(curvatures, minimum, start)
    # torch's first step is lr * min(1, 1/|g|_1) * g; this lr makes it as long as ours.
    length = LBFGS.FIRST_STEP_RMS / gradient.square().mean().sqrt()
    theirs = torch.nn.Parameter(start.clone())
    reference = torch.optim.LBFGS(
        [theirs],
        lr=float(length * max(1.0, float(gradient.abs().sum()))),
        max_iter=1,
        history_size=LBFGS.HISTORY,
        tolerance_grad=0,
        tolerance_change=0,
    )

    def closure() -> Tensor:
        theirs.grad = quadratic(curvatures, minimum, theirs.detach())
        return (theirs.grad * (theirs.detach() - minimum)).sum() / 2

    for step in range(1, 13):
        reference.step(closure)  # type: ignore[no-untyped-call]
        reference.param_groups[0]["lr"] = 1.0
        torch.testing.assert_close(ours[step], theirs.detach(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize("size", [50, 10_000])
def test_items_of_a_batch_move_as_if_alone_to_the_bit(name: str, size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    curvatures = torch.rand((4, size), generator=generator) + 0.01
    minimum = torch.rand((4, size), generator=generator) * 1.4 - 0.2
    start = torch.rand((4, size), generator=generator)

    def run(items: slice) -> Tensor:
        z = start[items]
        optimizer = OPTIMIZERS[name](z)
        for _ in range(25):
            z = optimizer.step(quadratic(curvatures[items], minimum[items], z))
        return z

    together = run(slice(None))
    for i in range(4):
        assert torch.equal(run(slice(i, i + 1))[0], together[i])


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_stays_within_the_range_of_pixels_and_finds_the_minimum_on_its_edge(name: str) -> None:
    minimum = torch.tensor([[-1.0, 0.5, 2.0]])
    z = torch.full((1, 3), 0.5)
    optimizer = OPTIMIZERS[name](z)
    for _ in range(100):
        z = optimizer.step(quadratic(torch.ones(1, 3), minimum, z))
        assert z.min() >= 0
        assert z.max() <= 1
    torch.testing.assert_close(z, torch.tensor([[0.0, 0.5, 1.0]]), atol=1e-3, rtol=0)


def test_a_zero_gradient_moves_nothing() -> None:
    for make in (LBFGS, Adam):
        z = torch.full((1, 3), 0.5)
        optimizer = make(z)
        for _ in range(3):
            assert torch.equal(optimizer.step(torch.zeros(1, 3)), z)


def test_a_bad_pair_of_one_item_leaves_the_others_alone() -> None:
    """Item 0 sees a concave function, of which no curvature pair is usable."""
    curvatures = torch.tensor([[-1.0, -1.0], [1.0, 0.1]])
    minimum = torch.tensor([[0.5, 0.5], [0.3, 0.7]])
    z = torch.tensor([[0.6, 0.4], [0.5, 0.5]])
    optimizer = LBFGS(z)
    for _ in range(50):
        z = optimizer.step(quadratic(curvatures, minimum, z))
    assert z.isfinite().all()
    torch.testing.assert_close(z[1], minimum[1], atol=1e-3, rtol=0)


def test_projection_finds_the_best_point_within_the_bounds_where_pixels_pull_on_each_other() -> (
    None
):
    """Clamping alone stops short of it. The reference is projected gradient descent, run to its end."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn((40, 40), generator=generator, dtype=torch.float64)
    hessian = a @ a.T / 40 + 0.05 * torch.eye(40, dtype=torch.float64)
    minimum = torch.rand(40, generator=generator, dtype=torch.float64) * 2 - 0.5

    def value(z: Tensor) -> float:
        return float((z - minimum) @ hessian @ (z - minimum) / 2)

    best = torch.full((40,), 0.5, dtype=torch.float64)
    step = 1 / torch.linalg.eigvalsh(hessian).max()
    for _ in range(20_000):
        best = (best - step * hessian @ (best - minimum)).clamp(0, 1)
    z = torch.full((1, 40), 0.5, dtype=torch.float64)
    optimizer = LBFGS(z)
    for _ in range(200):
        z = optimizer.step((z - minimum) @ hessian)
    assert value(z[0]) == pytest.approx(value(best), rel=1e-3)


def test_lengths_of_the_first_step_and_of_the_longest() -> None:
    start = torch.full((1, 1000), 0.5)
    optimizer = LBFGS(start)
    first = optimizer.step(torch.ones(1, 1000))
    rms = (first - start).square().mean().sqrt().item()
    assert rms == pytest.approx(LBFGS.FIRST_STEP_RMS, rel=1e-4)
    # A gradient that hardly changed promises a minimum far away.
    second = optimizer.step(torch.full((1, 1000), 0.999))
    rms = (second - first).square().mean().sqrt().item()
    assert rms == pytest.approx(LBFGS.MAX_STEP_RMS, rel=1e-4)
