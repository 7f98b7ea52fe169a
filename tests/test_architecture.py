"""The rules of the structure that a reader relies on, held by the imports themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT

# Every module may import those in the lines above its own, and none beside or below it.
LAYERS = [
    {"errors", "profiles", "redaction", "retries", "datafiles", "reductions", "silence"},
    {
        "job",
        "settings",
        "problems",
        "optimizers",
        "winograd",
        "tiles",
        "colors",
        "regions",
        "files",
        "answers",
        "texts",
        "memo",
    },
    {
        "tables",
        "devices",
        "ids",
        "access",
        "precision",
        "memory",
        "formats",
        "s3",
        "losses",
        "metrics",
    },
    {"storage", "images", "backbones", "rows", "metadata"},
    {"weights", "targets", "perceptual", "output", "manifest", "records", "fields", "listings"},
    {"plan", "objective", "rulers", "lease", "thumbnails", "facets", "serve", "topology"},
    {"inputs"},
    {"reports", "prepare", "loading", "engine", "matrix", "estimate"},
    {"batch", "probe", "progress", "runs", "pages"},
    {"gallery"},
    {"finish"},
    {"audit", "worker"},
    {"supervisor", "documents"},
    {"lanes"},
    {"pipeline"},
    {"cli", "reference", "remote"},
    {"__main__"},
]
OWNERS = {
    "prefect": {"nst_flows"},
    "prefect_aws": {"nst_flows"},
    "dask": {"nst_flows"},
    "ray": {"nst_flows"},
    "fsspec": {"nst.storage"},
    "s3fs": {"nst.s3"},
    "PIL": {"nst.images"},
    "pyarrow": {"nst.tables"},
    "yaml": {"nst.rows"},
    "jinja2": {"nst.pages"},
    "minify": {"nst.pages"},
    "typer": {"nst.cli"},
    "rich": {"nst.progress"},
    "psutil": {"nst.memory"},
    "torchvision": {"nst.backbones", "nst.weights"},
    "safetensors": {"nst.weights"},
}
NST = sorted((ROOT / "nst").glob("*.py"))
FLOWS = sorted((ROOT / "flows" / "nst_flows").glob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module in ("nst", "nst_flows"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


@pytest.mark.parametrize("path", NST, ids=lambda path: path.stem)
def test_imports_go_one_way(path: Path) -> None:
    if path.stem == "__init__":
        return
    level = next(i for i, layer in enumerate(LAYERS) if path.stem in layer)
    allowed = set().union(*LAYERS[:level]) | {"__version__"}
    found = {name.split(".")[1] for name in imports(path) if name.startswith("nst.")}
    assert found <= allowed, f"{path.stem} imports {found - allowed}"


def test_every_module_has_its_layer() -> None:
    assert set().union(*LAYERS) | {"__init__"} == {path.stem for path in NST}


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_a_library_has_one_owner(library: str) -> None:
    users = {
        f"nst.{path.stem}" if path.parent.name == "nst" else "nst_flows"
        for path in (*NST, *FLOWS)
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users == OWNERS[library]


def test_only_the_command_line_knows_of_the_flows() -> None:
    users = {p.stem for p in NST if any(n.startswith("nst_flows") for n in imports(p))}
    assert users == {"cli"}


def test_the_flows_compute_nothing_and_read_nothing() -> None:
    libraries = {"torch", "numpy", "fsspec", "pyarrow", "PIL"}
    for path in FLOWS:
        assert not libraries & {name.split(".")[0] for name in imports(path)}, path.name
