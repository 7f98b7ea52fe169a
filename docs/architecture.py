"""The rooms of the code, drawn and counted from the code itself.

`make docs` writes the blocks of docs/ARCHITECTURE.md; `python -m docs.architecture` prints lines,
functions and parameters by room.
"""

import ast
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

_ROOT = Path(__file__).parent.parent
# From the command line down to the words that all share, as the contracts in pyproject.toml have it.
ROOMS = ("gallery", "running", "planning", "manifest", "output", "painting", "pictures", "storage")
_FLOWS = "flows/nst_flows"


def room_table() -> str:
    """Each room, its job by its docstring and its modules by theirs, as markdown."""
    parts = []
    for room in (*reversed(ROOMS), "cli"):
        folder = _ROOT / "nst" / room
        heading = f"### `nst/{room}/`\n\n{_docstring(folder / '__init__.py')}"
        parts.append(f"{heading}\n\n{_module_table(_modules(folder))}")
    above = [path for path in _modules(_ROOT / "nst") if path.stem != "__main__"]
    parts.append(
        f"### `nst/`: what all rooms share, and what is above them\n\n{_module_table(above)}"
    )
    flows = _ROOT / _FLOWS
    parts.append(
        f"### `{_FLOWS}/`\n\n{_docstring(flows / '__init__.py')}\n\n{_module_table(_modules(flows))}"
    )
    return "\n\n".join(parts)


def import_graph() -> str:
    """Who imports whom, each arrow with how many imports it stands for, as a Mermaid diagram.

    What all rooms share, and arrows to `nst.storage`, which nearly all have, are left out.
    """
    arrows = Counter(
        (importer, imported)
        for importer, imported in _imports()
        if importer != imported and imported != "storage"
    )
    order = ["nst_flows", "cli", "api", "pipeline", "audit", *ROOMS]
    known = [(a, b) for a, b in arrows if a in order and b in order]
    known.sort(key=lambda pair: (order.index(pair[0]), order.index(pair[1])))
    lines = [f'  {a} -->|"{arrows[a, b]}"| {b}' for a, b in known]
    return "\n".join(["```mermaid", "flowchart TB", *lines, "```"])


def figures() -> str:
    """Modules, lines and the length and parameters of functions, by room, as a markdown table."""
    folders = {
        room: sorted((_ROOT / "nst" / room).glob("*.py")) for room in (*reversed(ROOMS), "cli")
    }
    folders["nst, the rest"] = sorted((_ROOT / "nst").glob("*.py"))
    folders["flows"] = sorted((_ROOT / _FLOWS).glob("*.py"))
    folders["bench"] = sorted((_ROOT / "bench").glob("*.py"))
    lines = [
        "| room | modules | lines | functions | lines of one: median, p90, max | parameters: median, p90, max |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, paths in {**folders, "together": list(chain(*folders.values()))}.items():
        found = [node for path in paths for node in _functions(path)]
        lengths = [_end(node) - node.lineno + 1 for node in found]
        parameters = [_num_parameters(node) for node in found]
        num_lines = sum(len(path.read_text().splitlines()) for path in paths)
        row = (name, len(paths), num_lines, len(found), _spread(lengths), _spread(parameters))
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


def _modules(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]


def _module_table(paths: Sequence[Path]) -> str:
    rows = [f"| `{path.name}` | {_docstring(path).splitlines()[0]} |" for path in paths]
    return "\n".join(["| module | what it does |", "| --- | --- |", *rows])


def _docstring(path: Path) -> str:
    found = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert found, f"{path}: expected a docstring that says its one job"
    return found


def _imports() -> Iterator[tuple[str, str]]:
    """Of each import: the room, or the module above them, that it is in, and that it is of."""
    for path in chain((_ROOT / "nst").rglob("*.py"), (_ROOT / _FLOWS).glob("*.py")):
        parts = path.relative_to(_ROOT).with_suffix("").parts
        importer = "nst_flows" if parts[0] == "flows" else parts[1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            module = node.module.split(".")
            if module[0] == "nst_flows":
                yield importer, "nst_flows"
            elif node.module == "nst":
                yield from ((importer, alias.name) for alias in node.names)
            elif module[0] == "nst":
                yield from ((importer, module[1]) for _ in node.names)


def _functions(path: Path) -> list[ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def _end(node: ast.FunctionDef) -> int:
    return node.end_lineno or node.lineno


def _num_parameters(node: ast.FunctionDef) -> int:
    """All of them but `self`."""
    names = [
        each.arg for each in chain(node.args.posonlyargs, node.args.args, node.args.kwonlyargs)
    ]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def _spread(numbers: Sequence[int]) -> str:
    """Median, ninetieth percentile and maximum."""
    if len(numbers) < 2:
        return ", ".join(map(str, numbers))
    p90 = statistics.quantiles(numbers, n=10)[-1]
    return f"{statistics.median(numbers):g}, {p90:g}, {max(numbers)}"


if __name__ == "__main__":
    sys.stdout.write(figures() + "\n")
