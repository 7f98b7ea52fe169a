import pytest
import torch
from torchvision import models

from nst.backbones import IMAGENET_MEAN, IMAGENET_STD, load_backbone
from nst.errors import WeightsError
from nst.profiles import PROFILES
from tests.helpers import picture_tensor, random_state, vgg16

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_layer_equals_what_torchvisions_own_forward_gives(name: str) -> None:
    """Hooks on torchvision's whole model, whose normalisation is ours to do."""
    state = random_state(name)
    profile = PROFILES[name]
    reference = getattr(models, name)(weights=None)
    reference.load_state_dict(state, strict=False)
    reference.eval()
    seen: dict[str, torch.Tensor] = {}
    if name == "resnet50":
        modules = {
            "relu1": reference.relu,
            **{layer: reference.get_submodule(layer) for layer in profile.layers[1:]},
        }
    else:
        relus = [m for m in reference.features if isinstance(m, torch.nn.ReLU)]
        modules = dict(zip(profile.layers, relus, strict=True))
    for layer, module in modules.items():
        module.register_forward_hook(
            # The stem's ReLU runs once; those within ResNet's blocks are other modules.
            lambda _, __, out, layer=layer: seen.setdefault(layer, out.detach().clone())
        )
    images = picture_tensor(64, 64)[None]
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        reference((images - mean) / std)
        ours = load_backbone(name, state, profile.layers, device=CPU)(images)
    assert set(ours) == set(profile.layers)
    for layer in profile.layers:
        torch.testing.assert_close(ours[layer], seen[layer], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_strides_of_the_profile_are_those_of_the_network(name: str) -> None:
    profile = PROFILES[name]
    features = load_backbone(name, random_state(name), profile.layers, device=CPU)(
        torch.rand(1, 3, 64, 96)
    )
    for layer in profile.layers:
        stride = profile.stride(layer)
        assert features[layer].shape[2:] == (64 // stride, 96 // stride), layer


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_shares_sum_to_one_over_layers_that_exist(name: str) -> None:
    profile = PROFILES[name]
    for shares in (profile.content_shares, profile.style_shares):
        assert sum(shares.values()) == pytest.approx(1)
        assert set(shares) <= set(profile.layers)


def test_is_cut_after_the_deepest_layer_used() -> None:
    shallow = load_backbone("vgg16", random_state("vgg16"), ("relu1_1", "relu2_1"), device=CPU)
    convolutions = [m for m in shallow.modules() if isinstance(m, torch.nn.Conv2d)]
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


def _embedded_state() -> dict[str, torch.Tensor]:
    from nst.weights import load_state, obtain

    return dict(load_state(obtain("vgg16")))


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


def test_another_networks_weights_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"features\.0\.weight"):
        load_backbone("vgg19", random_state("resnet50"), ("relu1_1",), device=CPU)
