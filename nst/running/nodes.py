"""What a cluster's process gets to know of its run, and what it tells about its machine."""

import importlib.metadata
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nst import __version__
from nst.errors import ConfigError, WeightsError
from nst.painting import usable_weights
from nst.planning import Group, layers_of
from nst.running.session import open_painter
from nst.settings import Precision, RunSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """What a task is told of its run: the token of the lease, and with what versions it was planned."""

    token: str
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What a node says of itself."""

    host: str
    versions: Mapping[str, str]


def versions() -> dict[str, str]:
    """The versions that decide what a picture looks like and whether its tasks are understood."""
    return {"nst": __version__, "torch": importlib.metadata.version("torch")}


def node() -> Node:
    """This one."""
    return Node(host=socket.gethostname(), versions=versions())


def precision(settings: RunSettings) -> Precision:
    """What the devices of this node take for `auto`."""
    with open_painter(settings) as painter:
        return painter.precision(settings.device)


def check_versions(expected: Mapping[str, str], found: Node) -> None:
    """Raises ConfigError where a node has another version of anything than the run."""
    others = [
        f"{name} {found.versions.get(name, 'none')} instead of {version}"
        for name, version in expected.items()
        if found.versions.get(name) != version
    ]
    if others:
        raise ConfigError(
            f"{found.host}: expected the versions that the run has, found {', '.join(others)}; install "
            "the same on all nodes"
        )


def with_local_weights(groups: Sequence[Group], settings: RunSettings) -> tuple[Group, ...]:
    """The groups with weights as they are found on this node, which lie elsewhere on another.

    Raises WeightsError where they cannot be had, or are not those of the plan.
    """
    layers = layers_of(one.job for group in groups for one in group.jobs)
    found = {
        name: usable_weights(name, settings.weights.get(name), layers[name], download=True)
        for name in dict.fromkeys(group.backbone for group in groups)
    }
    for group in groups:
        here = found[group.backbone]
        if here.digest != group.weights.digest:
            raise WeightsError(
                f"weights of {group.backbone}: expected the sha256 of the plan's, "
                f"{group.weights.digest}, found {here.digest} on {socket.gethostname()}; give all "
                "nodes the same file"
            )
        if here.topology != group.weights.topology:
            raise WeightsError(
                f"weights of {group.backbone}: expected the topology of the plan's, "
                f"{group.weights.topology}, found {here.topology} on {socket.gethostname()}; give "
                "all nodes the same #topology= behind the file"
            )
    return tuple(replace(group, weights=found[group.backbone]) for group in groups)
