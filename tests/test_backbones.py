import copy
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision import models

from nst.errors import WeightsError
from nst.job import Pooling
from nst.painting import pulse
from nst.painting.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    PaddedConv2d,
    arranged,
    load_backbone,
)
from nst.painting.weights import EMBEDDED, load_state, obtain
from nst.painting.winograd import WinogradConv2d
from nst.profiles import PROFILES, TOPOLOGIES, Topology
from nst.settings import Precision
from tests.helpers import ROOT, picture_tensor, random_state, vgg16, with_random_norms
from tests.plain_resnet import plain_resnet50, sample_photos

CPU = torch.device("cpu")


def relative(found: Tensor, expected: Tensor) -> float:
    """The length of the difference, as a share of what was expected."""
    return float((found.float() - expected).norm() / expected.norm())


def torchvisions_own(name: str, state: Mapping[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    """Every layer of the profile, by hooks on torchvision's whole model."""
    profile = PROFILES[name]
    with torch.device("meta"):
        reference = getattr(models, name)()
    reference.load_state_dict(state, strict=False, assign=True)
    reference.eval()
    if name == "resnet50":
        reference.fc = nn.Identity()
        modules = {
            "relu1": reference.relu,
            **{layer: reference.get_submodule(layer) for layer in profile.layers[1:]},
        }
    else:
        reference.classifier = nn.Identity()
        relus = [m for m in reference.features if isinstance(m, nn.ReLU)]
        modules = dict(zip(profile.layers, relus, strict=True))
    seen: dict[str, Tensor] = {}
    for layer, module in modules.items():
        module.register_forward_hook(
            # The stem's ReLU runs once; those within ResNet's blocks are other modules.
            lambda _, __, out, layer=layer: seen.setdefault(layer, out.detach().clone())
        )
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        reference((images - mean) / std)
    return seen


@dataclass(frozen=True)
class Loaded:
    """A backbone with all its layers, and what it was loaded from."""

    name: str
    state: Mapping[str, Tensor]
    backbone: Backbone


@pytest.fixture(scope="module", params=sorted(PROFILES))
def loaded(request: pytest.FixtureRequest) -> Loaded:
    state = with_random_norms(random_state(request.param))
    layers = PROFILES[request.param].layers
    return Loaded(request.param, state, load_backbone(request.param, state, layers, device=CPU))


def test_every_layer_equals_what_torchvisions_own_forward_gives(loaded: Loaded) -> None:
    """Normalisation is ours to do; batch norms are folded, and wide convolutions run another way.

    At sides that no pooling halves evenly.
    """
    images = torch.stack([picture_tensor(49, 75, seed=seed) for seed in (0, 1)])
    expected = torchvisions_own(loaded.name, loaded.state, images)
    ours = loaded.backbone(images)
    assert set(ours) == set(PROFILES[loaded.name].layers)
    for layer, features in ours.items():
        assert features.shape == expected[layer].shape
        assert relative(features, expected[layer]) < 1e-4, layer


@pytest.mark.parametrize("name", sorted(EMBEDDED))
@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-4), ("bfloat16", 0.03)])
def test_embedded_weights_give_what_torchvisions_own_forward_gives(
    name: str, precision: Precision, most: float
) -> None:
    """Features of the original VGG-19 go up to 25,000, a hundred times those of torchvision's."""
    state = {key: value.float() for key, value in load_state(obtain(name)).items()}
    images = picture_tensor(49, 75)[None]
    expected = torchvisions_own(name, state, images)
    layers = PROFILES[name].layers
    ours = load_backbone(name, state, layers, device=CPU, precision=precision)(images)
    for layer in layers:
        assert relative(ours[layer], expected[layer]) < most, layer


def test_each_stage_of_a_pass_is_a_sign_of_life() -> None:
    backbone, found = vgg16(), []
    pulse.listen(lambda: found.append(threading.get_ident()))
    try:
        backbone(picture_tensor(32, 32, seed=1)[None])
    finally:
        pulse.listen(None)
    backbone(picture_tensor(32, 32, seed=1)[None])
    assert found == [threading.get_ident()] * len(found)
    assert len(found) > len(backbone.layers)


def test_convolutions_take_the_form_that_is_fast_and_batch_norms_are_gone(loaded: Loaded) -> None:
    modules = list(loaded.backbone.modules())
    assert any(isinstance(module, WinogradConv2d) for module in modules)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in modules)


def test_strides_of_the_profile_are_those_of_the_network(loaded: Loaded) -> None:
    for layer, features in loaded.backbone(torch.rand(1, 3, 64, 96)).items():
        stride = PROFILES[loaded.name].stride(layer)
        assert features.shape[2:] == (64 // stride, 96 // stride), layer


@pytest.fixture(scope="module")
def resnet() -> dict[str, Tensor]:
    return with_random_norms(random_state("resnet50"))


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize(
    ("pooling", "size"), [("max", (64, 96)), ("max", (49, 75)), ("avg", (49, 75))]
)
def test_either_topology_gives_the_features_of_a_plain_forward_pass(
    resnet: Mapping[str, Tensor], topology: Topology, pooling: Pooling, size: tuple[int, int]
) -> None:
    layers = PROFILES["resnet50"].layers
    images = torch.stack([picture_tensor(*size, seed=seed) for seed in (0, 1)])
    backbone = load_backbone(
        "resnet50", resnet, layers, device=CPU, pooling=pooling, topology=topology
    )
    with torch.no_grad():
        expected = plain_resnet50(resnet, images, topology, pooling=pooling)
        found = backbone(images)
    assert set(found) == set(expected) == set(layers)
    for layer, features in found.items():
        assert features.shape == expected[layer].shape
        assert relative(features, expected[layer]) < 1e-4, layer


def test_the_topologies_differ_from_the_first_pooling_on_and_torchvisions_is_the_usual(
    resnet: Mapping[str, Tensor],
) -> None:
    layers = PROFILES["resnet50"].layers
    images = picture_tensor(64, 96)[None]
    choices: tuple[Topology | None, ...] = (None, "torchvision", "caffe")
    with torch.no_grad():
        usual, torchvision, caffe = (
            load_backbone("resnet50", resnet, layers, device=CPU, topology=topology)(images)
            for topology in choices
        )
    for layer in layers:
        assert torch.equal(usual[layer], torchvision[layer])
        assert caffe[layer].shape == usual[layer].shape
    assert torch.equal(caffe["relu1"], usual["relu1"])
    for layer in layers[1:]:
        assert relative(caffe[layer], usual[layer]) > 0.1, layer


@pytest.mark.skipif(
    "NST_RESNET50_WEIGHTS" not in os.environ,
    reason="NST_RESNET50_WEIGHTS names no file of He et al.'s ResNet-50",
)
def test_the_real_file_gives_the_features_of_a_plain_forward_pass() -> None:
    state = safetensors.torch.load_file(os.environ["NST_RESNET50_WEIGHTS"])
    layers = [layer for layer in PROFILES["resnet50"].layers if not layer.startswith("layer4")]
    images = sample_photos("content/*.jpg", 96)
    backbone = load_backbone("resnet50", state, layers, device=CPU, topology="caffe")
    with torch.no_grad():
        expected = plain_resnet50(state, images, "caffe")
        found = backbone(images)
    assert set(found) == set(expected) == set(layers)
    for layer, features in found.items():
        assert relative(features, expected[layer]) < 1e-4, layer


def test_loading_leaves_the_weights_as_they_were() -> None:
    state = with_random_norms(random_state("resnet50"))
    before = {key: value.clone() for key, value in state.items()}
    for precision in ("float32", "bfloat16"):
        load_backbone("resnet50", state, ("layer2.3",), device=CPU, precision=precision)
    assert all(torch.equal(state[key], value) for key, value in before.items())
    assert {value.dtype for value in state.values()} == {v.dtype for v in before.values()}


POOLED = {"vgg16": ("relu1_2", "relu2_1", "relu4_1"), "resnet50": ("relu1", "layer1.2", "layer2.3")}


@pytest.mark.parametrize("name", sorted(POOLED))
@pytest.mark.parametrize("size", [(64, 96), (49, 75)])
def test_average_pooling_gives_other_features_of_the_same_shape(
    name: str, size: tuple[int, int]
) -> None:
    layers = POOLED[name]
    state = random_state(name)
    images = picture_tensor(*size)[None]
    with torch.no_grad():
        largest = load_backbone(name, state, layers, device=CPU)(images)
        average = load_backbone(name, state, layers, device=CPU, pooling="avg")(images)
    for layer in layers:
        assert average[layer].shape == largest[layer].shape
    # There is none before the first layer.
    assert torch.equal(average[layers[0]], largest[layers[0]])
    for layer in layers[1:]:
        assert relative(average[layer], largest[layer]) > 0.05, layer


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_average_pooling_leaves_a_constant_as_it_is_up_to_the_edge(topology: Topology) -> None:
    """What lies beyond the picture is not counted."""
    state = random_state("resnet50")
    state["conv1.weight"].zero_()
    state["bn1.bias"].fill_(2.0)
    backbone = load_backbone(
        "resnet50", state, ("layer1.0",), device=CPU, pooling="avg", topology=topology
    )
    pooled = backbone._stages[3](backbone._stages[0](torch.zeros(1, 3, 49, 75)))
    torch.testing.assert_close(pooled, torch.full_like(pooled, 2.0))


@pytest.mark.parametrize("name", ["vgg16", "resnet50"])
def test_bfloat16_gives_features_near_those_of_float32(name: str) -> None:
    layers = POOLED[name]
    state = with_random_norms(random_state(name))
    images = picture_tensor(49, 75)[None]
    with torch.no_grad():
        exact = load_backbone(name, state, layers, device=CPU)(images)
        near = load_backbone(name, state, layers, device=CPU, precision="bfloat16")(images)
    for layer in layers:
        assert exact[layer].dtype == torch.float32
        assert near[layer].dtype == torch.bfloat16
        assert 0 < relative(near[layer], exact[layer]) < 0.03, layer


def test_a_tap_may_change_what_goes_on() -> None:
    backbone = vgg16()
    images = picture_tensor(32, 32)[None]
    seen = {}

    def none_of_the_first(layer: str, features: Tensor) -> Tensor:
        seen[layer] = features
        return features * 0 if layer == "relu1_1" else features

    with torch.no_grad():
        deepest = backbone.through(images, none_of_the_first)
        plain = backbone(images)
    assert list(seen) == list(plain)
    assert torch.equal(seen["relu1_1"], plain["relu1_1"])
    assert not torch.equal(seen["relu2_1"], plain["relu2_1"])
    assert torch.equal(deepest, seen["relu5_1"])


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_shares_sum_to_one_over_layers_that_exist(name: str) -> None:
    profile = PROFILES[name]
    for shares in (profile.content_shares, profile.style_shares):
        assert sum(shares.values()) == pytest.approx(1)
        assert set(shares) <= set(profile.layers)


def test_is_cut_after_the_deepest_layer_used() -> None:
    shallow = load_backbone("vgg16", random_state("vgg16"), ("relu1_1", "relu2_1"), device=CPU)
    convolutions = [m for m in shallow.modules() if isinstance(m, nn.Conv2d | WinogradConv2d)]
    assert len(convolutions) == 3


def test_is_frozen_and_gives_gradients_to_the_image_alone() -> None:
    backbone = vgg16()
    image = picture_tensor(32, 32)[None].requires_grad_(True)
    sum(f.sum() for f in backbone(image).values()).backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert not any(p.requires_grad or p.grad is not None for p in backbone.parameters())


def test_features_are_not_changed_by_what_comes_after_them() -> None:
    """A ReLU that works in place would rewrite a captured layer."""
    image = picture_tensor(32, 32)[None]
    with torch.no_grad():
        whole = vgg16()(image)["relu1_1"]
        alone = load_backbone("vgg16", _embedded_state(), ("relu1_1",), device=CPU)(image)
    assert torch.equal(whole, alone["relu1_1"])


def _embedded_state() -> dict[str, Tensor]:
    return dict(load_state(obtain("vgg16")))


@pytest.mark.parametrize(
    ("name", "deepest", "beyond"),
    [("resnet50", "layer3.5", ("layer4",)), ("vgg16", "relu4_2", ("features.21", "features.24"))],
)
def test_a_file_may_end_after_the_deepest_layer_used(
    name: str, deepest: str, beyond: tuple[str, ...]
) -> None:
    whole = random_state(name)
    cut = {key: value for key, value in whole.items() if not key.startswith(beyond)}
    image = picture_tensor(64, 64)[None]
    features = load_backbone(name, cut, (deepest,), device=CPU)(image)[deepest]
    expected = load_backbone(name, whole, (deepest,), device=CPU)(image)[deepest]
    assert torch.equal(features, expected)
    below = PROFILES[name].layers[PROFILES[name].layers.index(deepest) + 1]
    with pytest.raises(WeightsError, match=rf"'{beyond[0]}\..*down to {below}"):
        load_backbone(name, cut, (below,), device=CPU)


def test_a_missing_key_is_named() -> None:
    state = random_state("vgg16")
    del state["features.5.weight"]
    with pytest.raises(WeightsError, match=r"'features\.5\.weight'.*found 25 other keys"):
        load_backbone("vgg16", state, ("relu2_1",), device=CPU)


def test_a_wrong_shape_is_named() -> None:
    state = random_state("vgg16")
    state["features.0.weight"] = torch.zeros(64, 1, 3, 3)
    with pytest.raises(WeightsError, match=r"\(64, 3, 3, 3\), found \(64, 1, 3, 3\)"):
        load_backbone("vgg16", state, ("relu1_1",), device=CPU)


def test_weights_that_are_not_finite_are_refused() -> None:
    state = random_state("vgg16")
    state["features.0.bias"][0] = float("nan")
    with pytest.raises(WeightsError, match="not finite"):
        load_backbone("vgg16", state, ("relu1_1",), device=CPU)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_may_be_floats_of_any_width(dtype: torch.dtype) -> None:
    state = random_state("vgg16")
    state["features.0.weight"] = state["features.0.weight"].to(dtype)
    backbone = load_backbone("vgg16", state, ("relu1_1",), device=CPU)
    assert backbone(picture_tensor(16, 16)[None])["relu1_1"].dtype == torch.float32


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(64, dtype=torch.int32),
        torch.zeros(64, dtype=torch.bool),
        torch.zeros(64, dtype=torch.complex64),
        torch.zeros(64, device="meta"),
        torch.zeros(64).to_sparse(),
    ],
    ids=["integers", "truth values", "complex", "without values", "sparse"],
)
def test_weights_of_another_kind_are_refused(value: Tensor) -> None:
    state = random_state("vgg16") | {"features.0.bias": value}
    with pytest.raises(WeightsError, match=r"'features\.0\.bias' as a dense tensor of floating"):
        load_backbone("vgg16", state, ("relu1_1",), device=CPU)


def test_numbers_that_only_float64_holds_are_refused() -> None:
    state = random_state("vgg16")
    state["features.0.bias"] = torch.full((64,), 1e300, dtype=torch.float64)
    with pytest.raises(WeightsError, match="not finite"):
        load_backbone("vgg16", state, ("relu1_1",), device=CPU)


def test_variances_below_zero_are_refused() -> None:
    state = random_state("resnet50")
    state["bn1.running_var"][0] = -1
    with pytest.raises(WeightsError, match=r"'bn1\.running_var' holds variances below zero"):
        load_backbone("resnet50", state, ("relu1",), device=CPU)


def test_another_networks_weights_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"features\.0\.weight"):
        load_backbone("vgg19", random_state("resnet50"), ("relu1_1",), device=CPU)


def test_a_vgg_waits_for_no_torchvision() -> None:
    code = (
        "import sys, nst.running.batch; from tests.helpers import vgg16; vgg16(); "
        "sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_of_zeros_change_neither_the_features_nor_the_gradient(dtype: torch.dtype) -> None:
    """As a GPU has its first convolution: 3 channels and 5 of zeros."""
    conv = nn.Conv2d(3, 64, 7, stride=2, padding=3).to(dtype=dtype)
    plain = copy.deepcopy(conv)
    padded = PaddedConv2d(conv)
    x = picture_tensor(30, 40)[None].to(dtype).contiguous(memory_format=torch.channels_last)
    found = []
    for module in (plain, padded):
        own = x.clone().requires_grad_(True)
        y = module(own)
        found.append((y, *torch.autograd.grad(y.square().sum(), own)))
    assert padded.conv.weight.shape == (64, 8, 7, 7)
    torch.testing.assert_close(found[1], found[0])


def test_the_first_convolution_is_padded_for_a_gpus_units_for_bfloat16_alone() -> None:
    first, second = nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 3)
    cuda = torch.device("cuda")
    assert arranged(second, cuda, "bfloat16") is second
    assert arranged(first, cuda, "float32") is first
    assert arranged(first, CPU, "bfloat16") is first
    assert isinstance(arranged(first, cuda, "bfloat16"), PaddedConv2d)
