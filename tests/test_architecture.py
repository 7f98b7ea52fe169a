"""The rules of the structure that a reader relies on, held by the imports themselves."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nst import errors
from tests.helpers import ROOT, modules_of

NST = sorted((ROOT / "nst").rglob("*.py"))
ROOMS = sorted(path.parent.name for path in (ROOT / "nst").glob("*/__init__.py"))


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """The modules and the names out of them that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from ((str(node.module), alias.name) for alias in node.names)


def used_of(room: str, path: Path) -> Iterator[str]:
    """The names of a room that a file imports, or uses by the name that it gives the room."""
    yield from (name for module, name in imports(path) if module == f"nst.{room}")
    tree = ast.parse(path.read_text())
    called = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "nst"
        for alias in node.names
        if alias.name == room
    }
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in called:
                yield attribute


def test_imports_keep_the_contracts() -> None:
    checked = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("path", NST, ids=lambda path: str(path.relative_to(ROOT / "nst")))
def test_a_room_is_used_by_what_it_exports(path: Path) -> None:
    own = path.parent.name
    for module, name in imports(path):
        package, *rest = module.split(".")
        if package != "nst" or not rest or rest[0] not in ROOMS:
            continue
        if rest[0] == own:
            is_module = len(rest) == 2 or path.with_name(f"{name}.py").exists()
            assert is_module, f"within a room, from the module itself: {name} of {module}"
        else:
            assert len(rest) == 1, f"from the room: {module}"
            assert name in importlib.import_module(module).__all__


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_exports_what_is_there(room: str) -> None:
    package = importlib.import_module(f"nst.{room}")
    assert package.__doc__
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_exports_what_is_used_elsewhere(room: str) -> None:
    """Or it would grow into a list of all that is there. A test imports from the module itself."""
    used = {
        name
        for path in modules_of("nst", "flows", "bench", "docs")
        if path.parent.name != room
        for name in used_of(room, path)
    }
    assert not set(importlib.import_module(f"nst.{room}").__all__) - used


def test_the_tree_of_errors_has_each_of_them() -> None:
    """Each below the one that it is a kind of."""
    path: list[str] = []
    told = {}
    for line in str(errors.__doc__).splitlines():
        if found := re.fullmatch(r"((?:[│├└─]| )*)(\w+Error)\b.*", line):
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            told[found[2]] = path[depth - 1] if depth else "Exception"
    # Defined where it is raised.
    assert told.pop("TableError") == "NSTError"
    assert told == {
        name: kind.__mro__[1].__name__
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.NSTError)
    }
