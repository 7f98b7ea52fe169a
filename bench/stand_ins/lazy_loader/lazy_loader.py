"""Of lazy_loader what nst uses: modules and names of a package, loaded when they are asked for."""

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path


def attach_stub(
    package: str, file: str
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package, as the stub beside `file` lists them."""
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    homes = {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        module = importlib.import_module(f"{package}.{home or name}")
        if home is None:
            return module
        found: object = getattr(module, name)
        if name == home:
            # Or the module, which its import has put there, would hide it from now on.
            setattr(sys.modules[package], name, found)
        return found

    return load, lambda: sorted(homes), sorted(homes)
