"""Print the version of every package that nst needs in the environment that runs this: `make constraints`.

Those for tests are not among them, unless nst needs them too.
"""

import importlib.metadata
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEADER = """\
# Written by `make constraints`, in an environment in which the tests passed: the versions of all packages
# that nst[aws] needs, on any system. pip install --constraint deploy/constraints.txt .
"""
# Of other versions of Python than the one that writes this.
ELSEWHERE = {
    "async-timeout": 'async-timeout==5.0.1 ; python_full_version < "3.11.3"',
    "whenever": 'whenever==0.10.5 ; python_version >= "3.13"',
}


def main() -> None:
    found = {name: f"{name}=={version}" for name, version in needed("nst", frozenset({"aws"}))}
    del found["nst"]
    print(HEADER, *(line for _, line in sorted((ELSEWHERE | found).items())), sep="\n")


def needed(root: str, extras: frozenset[str]) -> Iterator[tuple[str, str]]:
    """The name and version of an installed package and of all its dependencies, some repeatedly."""
    left, seen = [(root, extras)], set()
    while left:
        name, extras = left.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        package = importlib.metadata.distribution(name)
        yield canonicalize_name(name), public(package.version)
        for requirement in map(Requirement, package.requires or []):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": each}) for each in extras | {""}):
                left.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))


def public(version: str) -> str:
    """A version without its build, such as +cpu of PyTorch."""
    return version.partition("+")[0]


if __name__ == "__main__":
    main()
