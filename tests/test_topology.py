"""Which topology weights are for: by their statistics, with a plain network as the reference."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from nst.errors import ConfigError, WeightsError
from nst.painting import topology, weights
from nst.painting.backbones import IMAGENET_MEAN, IMAGENET_STD
from nst.painting.topology import check_topology, fit_of
from nst.painting.usable import usable_weights
from nst.painting.weights import WeightsFile
from nst.profiles import TOPOLOGIES, Topology
from tests.helpers import random_state, with_random_norms
from tests.plain_resnet import measured_norms, plain_resnet50, sample_photos

OTHER: Mapping[Topology, Topology] = {"torchvision": "caffe", "caffe": "torchvision"}
REAL = os.environ.get("NST_RESNET50_WEIGHTS")
needs_the_real_file = pytest.mark.skipif(
    not REAL, reason="NST_RESNET50_WEIGHTS names no file of He et al.'s ResNet-50"
)


def down_to(state: Mapping[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key.startswith(prefixes)}


def seeded(seed: int = 0) -> dict[str, Tensor]:
    """Random weights down to layer2.0, whose 3 x 3 filters are smooth or look at differences.

    Trained ones are so too; to wholly random ones neighbours at any distance are much alike.
    """
    state = with_random_norms(random_state("resnet50", seed=seed))
    smooth = torch.ones(3, 3) / 9
    middle = torch.zeros(3, 3)
    middle[1, 1] = 1
    shapes = torch.stack([smooth, middle - smooth])
    filters = state["layer2.0.conv2.weight"]
    which = torch.arange(len(filters)) % 2
    state["layer2.0.conv2.weight"] = filters.sum(dim=(2, 3), keepdim=True) * shapes[which][:, None]
    return down_to(state, *"bc", "layer1", "layer2.0")


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Not quite the pictures that it goes by: turned round, and cut at another size."""
    found = [sample_photos(f"content/{name}.jpg", 256) for name in ("chelsea", "coffee", "rocket")]
    return torch.cat(found).flip(3)


@pytest.fixture(scope="module", params=TOPOLOGIES)
def trained(request: pytest.FixtureRequest, photos: Tensor) -> tuple[Topology, dict[str, Tensor]]:
    """Random filters with the statistics that a topology has on photos."""
    return request.param, measured_norms(seeded(), photos, request.param)


def test_statistics_over_other_pictures_tell_the_topology(
    trained: tuple[Topology, dict[str, Tensor]],
) -> None:
    name, state = trained
    fit = fit_of("resnet50", state)
    assert fit is not None
    assert fit.topology == name
    assert fit.errors[name] < fit.errors[OTHER[name]]


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_over_the_same_pictures_the_statistics_are_those_of_a_plain_network(name: Topology) -> None:
    """But for how the first pooling begins, which is torchvision's for both."""
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    fit = fit_of("resnet50", measured_norms(seeded(), topology._photos() * std + mean, name))
    assert fit is not None
    assert fit.errors[name] < (1e-5 if name == "torchvision" else 0.05)
    assert fit.errors[OTHER[name]] > 0.15
    assert fit.position == pytest.approx(TOPOLOGIES.index(name), abs=0.01)
    assert fit.correlation > 0.98


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_told_of_weights_that_saw_no_pictures(seed: int) -> None:
    for state in (random_state("resnet50", seed=seed), seeded(seed)):
        fit = fit_of("resnet50", state)
        assert fit is not None
        assert fit.topology is None


def test_nothing_is_told_of_weights_that_end_before_the_topologies_part() -> None:
    assert fit_of("resnet50", down_to(random_state("resnet50"), *"bc", "layer1")) is None


def test_channels_that_nothing_comes_out_of_do_not_count(
    trained: tuple[Topology, dict[str, Tensor]],
) -> None:
    name, state = trained
    state = {key: value.clone() for key, value in state.items()}
    state["layer2.0.conv2.weight"][:9] = 0
    state["layer2.0.bn2.running_var"][:9] = torch.tensor([0, 1e-30, 1e-20, 1e-12, 0, 0, 0, 0, 0])
    fit = fit_of("resnet50", state)
    assert fit is not None
    assert fit.topology == name


def test_the_statistics_of_a_file_are_left_as_they_are() -> None:
    state = seeded()
    before = {key: value.clone() for key, value in state.items()}
    fit_of("resnet50", state)
    assert all(torch.equal(state[key], value) for key, value in before.items())


def told(name: Topology, **values: object) -> WeightsFile:
    defaults = {"backbone": "resnet50", "origin": "file", "uri": "/r.pth", "digest": "d"}
    return WeightsFile(**{**defaults, "topology": name, **values})  # type: ignore[arg-type]


def test_a_file_that_says_nothing_and_fits_the_other_is_refused_with_the_figures(
    photos: Tensor,
) -> None:
    state = measured_norms(seeded(), photos, "caffe")
    fit = fit_of("resnet50", state)
    assert fit is not None
    with pytest.raises(WeightsError) as caught:
        check_topology(told("torchvision"), state)
    message = str(caught.value)
    assert f"{fit.errors['caffe']:.0%} in caffe's" in message
    assert f"{fit.errors['torchvision']:.0%} in torchvision's" in message
    assert "in /r.pth, which says none" in message
    assert "write #topology=caffe behind the file" in message


def test_a_file_that_says_what_it_is_not_is_refused(
    trained: tuple[Topology, dict[str, Tensor]],
) -> None:
    name, state = trained
    with pytest.raises(WeightsError, match="as its metadata say") as caught:
        check_topology(told(OTHER[name], topology_said_by="file"), state)
    assert f"#topology={name}" in str(caught.value)


def test_what_the_user_says_is_done_with_a_warning(
    trained: tuple[Topology, dict[str, Tensor]], caplog: pytest.LogCaptureFixture
) -> None:
    name, state = trained
    with caplog.at_level(logging.WARNING, "nst"):
        check_topology(told(OTHER[name], topology_said_by="user"), state)
    (said,) = caplog.messages
    assert f"as #topology={OTHER[name]} says" in said
    assert f"#topology={name}" in said


def test_a_file_that_is_what_it_is_taken_for_is_not_spoken_of(
    trained: tuple[Topology, dict[str, Tensor]], caplog: pytest.LogCaptureFixture
) -> None:
    name, state = trained
    check_topology(told(name), state)
    check_topology(told(name, topology_said_by="file"), state)
    check_topology(told(name, topology_said_by="user"), state)
    assert caplog.messages == []


def test_a_run_refuses_a_file_that_fits_the_other_and_takes_it_by_the_users_word(
    photos: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "r.safetensors"
    safetensors.torch.save_file(measured_norms(seeded(), photos, "caffe"), path)
    with pytest.raises(ConfigError, match=f"--weights: .*in {path}.*write #topology=caffe"):
        usable_weights("resnet50", str(path), ("layer2.0",), download=False)
    choice = f"{path}#topology=caffe"
    file = usable_weights("resnet50", choice, ("layer2.0",), download=False)
    assert file.topology == "caffe"


def test_torchvisions_own_file_and_backbones_of_one_topology_are_not_looked_at() -> None:
    check_topology(told("torchvision", origin="torchvision"), {})
    check_topology(WeightsFile(backbone="vgg16", origin="file", uri="/v", digest="d"), {})


@pytest.fixture(scope="module")
def real() -> dict[str, Tensor]:
    assert REAL
    return safetensors.torch.load_file(REAL)


@needs_the_real_file
def test_the_real_file_is_told_to_be_of_caffe(real: Mapping[str, Tensor]) -> None:
    fit = fit_of("resnet50", real)
    assert fit is not None
    assert fit.topology == "caffe"
    assert fit.position > 0.8
    assert fit.correlation > 0.9
    assert fit.errors["caffe"] < 0.08 < 0.13 < fit.errors["torchvision"]


@needs_the_real_file
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_filters_of_the_real_file_tell_either_topology_by_statistics_over_paintings(
    real: Mapping[str, Tensor], name: Topology
) -> None:
    """No file of torchvision's topology is at hand; these statistics are what one would have."""
    fit = fit_of("resnet50", measured_norms(real, sample_photos("style/*.jpg"), name))
    assert fit is not None
    assert fit.topology == name


@needs_the_real_file
def test_the_real_file_says_so_itself(real: Mapping[str, Tensor], tmp_path: Path) -> None:
    assert REAL
    file = weights.obtain("resnet50", REAL)
    assert (file.topology, file.topology_said_by) == ("caffe", "file")
    check_topology(file, real)
    silent = tmp_path / "resnet50.safetensors"
    safetensors.torch.save_file(dict(real), silent)
    with pytest.raises(WeightsError, match="#topology=caffe"):
        check_topology(weights.obtain("resnet50", str(silent)), real)


@needs_the_real_file
def test_statistics_of_the_real_file_are_those_over_samples_in_its_topology_and_order_of_channels(
    real: Mapping[str, Tensor],
) -> None:
    samples = sample_photos()
    right = spreads_off(real, samples, "caffe")
    wrong = spreads_off(real, samples, "torchvision")
    for norm in ("layer2.0.bn2", "layer2.0.bn3", "layer3.0.bn2"):
        assert right[norm] < 0.08 < 0.11 < wrong[norm], norm
    # Up to where the two part there is nothing to tell.
    assert right["layer1.2.bn3"] == pytest.approx(wrong["layer1.2.bn3"], abs=0.003)
    assert means_correlate(real, samples) > 0.95
    swapped = {**real, "conv1.weight": real["conv1.weight"].flip(1)}
    assert means_correlate(swapped, samples) < 0.5


def spreads_off(state: Mapping[str, Tensor], images: Tensor, name: Topology) -> dict[str, float]:
    """By how much stored and measured standard deviations of each batch norm differ by channel."""
    off: dict[str, float] = {}

    def compare(norm: str, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        measured = x.var(dim=(0, 2, 3), unbiased=False)
        is_alive = variance > 1e-8
        off[norm] = (measured / variance)[is_alive].log().std().item() / 2
        return mean, variance

    with torch.no_grad():
        plain_resnet50(state, images, name, statistics=compare)
    return off


def means_correlate(state: Mapping[str, Tensor], images: Tensor) -> float:
    """The stored means of the first batch norm with those measured."""
    found = measured_norms(down_to(state, *"bc"), images, "caffe")
    pairs = torch.stack([state["bn1.running_mean"], found["bn1.running_mean"]])
    return torch.corrcoef(pairs)[0, 1].item()
