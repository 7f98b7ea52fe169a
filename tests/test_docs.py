"""What the documents refer to is there: files, headings, commands, options, messages."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer.main

from nst import cli
from tests.helpers import ROOT

DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in (
        "*.md",
        "docs/*.md",
        "bench/*.md",
        "deploy/**/*.md",
        "manifests/**/*.md",
        "nst/**/*.md",
    )
    for path in ROOT.glob(pattern)
)
TROUBLESHOOTING = "docs/TROUBLESHOOTING.md"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def code(text: str) -> Iterator[str]:
    """The lines of code of a document: those of its blocks, continued ones as one, and its spans."""
    block = re.compile(r"^```\w*\n(.*?)^```", re.M | re.S)
    for found in block.findall(text):
        yield from found.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`([^`\n]+)`", block.sub("", text))


@cache
def anchors(path: Path) -> frozenset[str]:
    """Those that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return frozenset(heading.replace(" ", "-") for heading in kept)


def broken_links(name: str) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(read(name))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        is_heading = not anchor or (target.suffix == ".md" and anchor in anchors(target))
        if not target.exists() or not is_heading:
            broken.append(link)
    return broken


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_and_headings_that_are_there(name: str) -> None:
    assert broken_links(name) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_modules_scripts_and_goals_that_are_to_be_run_are_there(name: str) -> None:
    goals = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    for line in code(read(name)):
        for module in re.findall(r"\bpython3? -m ([\w.]+)", line):
            assert importlib.util.find_spec(module.rstrip(".")), line
        for script in re.findall(r"\bpython3? ([\w/]+\.py)", line):
            assert (ROOT / script).is_file(), line
        for made in re.findall(r"(?:^|\bthen )make ([a-z][a-z-]*)", line):
            assert made in goals, line


def recipes() -> dict[str, str]:
    """What is to be done to add something, by what it is."""
    text = read("CONTRIBUTING.md").partition("## To add")[2].partition("### A store")[0]
    return dict(re.findall(r"^- \*\*(.+?)\*\*(.+)$", text, re.MULTILINE))


@pytest.mark.parametrize("recipe", recipes())
def test_what_a_recipe_names_is_in_the_files_that_it_names(recipe: str) -> None:
    quoted = re.findall(r"`([^`]+)`", recipes()[recipe])
    paths = [ROOT / each for each in quoted if "/" in each and " " not in each]
    assert all(path.exists() for path in paths)
    texts = "".join(path.read_text() for path in paths if path.is_file())
    names = [each for each in quoted if re.fullmatch(r"_?[A-Z]\w+", each)]
    assert not [name for name in names if not re.search(rf"\b{name}\b", texts)]


def options(command: str) -> set[str]:
    found = typer.main.get_group(cli.app).commands[command]
    named = (name for each in found.params for name in (*each.opts, *each.secondary_opts))
    return {"--help", *named}


# An earlier version's options may be gone.
@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_commands_of_nst_have_the_options_that_they_are_shown_with(name: str) -> None:
    commands = typer.main.get_group(cli.app).commands
    for line in code(read(name)):
        # Up to what is another command, or a remark.
        for command, rest in re.findall(r"\bnst ([a-z]+)\b([^|;&]*)", line.partition(" # ")[0]):
            if command in commands:
                assert set(re.findall(r"(?<=\s)--[a-z-]+", rest)) <= options(command), line


@cache
def messages() -> tuple[str, ...]:
    """Every text of the code, with a gap in place of each value that is filled in."""
    found = []
    for folder in ("nst", "flows"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (p.value if isinstance(p, ast.Constant) else "\0" for p in node.values)
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    for pattern in ("*.js", "*.j2"):
        for path in (ROOT / "nst/gallery").rglob(pattern):
            text = path.read_text(encoding="utf-8")
            found += re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "\0", text).splitlines()
    return tuple(found)


def is_said(symptom: str) -> bool:
    """Whether one text of the code has all parts of a message, in order, with gaps between them."""
    parts = [part.strip(" ;,:") for part in symptom.split("...")]
    pattern = re.compile(".*?".join(re.escape(part) for part in parts if part), re.S)
    return any(pattern.search(message) for message in messages())


def symptoms() -> list[str]:
    """What is quoted in the first column of the tables."""
    cells = re.findall(r"^\| (.*?) \|", read(TROUBLESHOOTING), re.M)
    return [each for cell in cells for each in re.findall(r"`([^`]+)`", cell)]


def test_what_is_quoted_as_a_message_is_one() -> None:
    ours = [each for each in symptoms() if not each.startswith("nst ")]
    assert len(ours) >= 25
    assert [each for each in ours if not is_said(each)] == []


def test_a_message_that_nobody_says_is_found() -> None:
    assert not is_said("expected to be the only run in ..., found company")
    assert is_said("expected to be the only run in ..., found that another run took over")


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    document = tmp_path / "one.md"
    document.write_text("# Here\n[a](#here) [b](#there) [c](two.md) `[d](three.md)`")
    assert broken_links(str(document)) == ["#there", "two.md"]
