"""The recipes of CONTRIBUTING.md, followed in a copy of the project: what is declared once arrives."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT, write_project
from tests.helpers import row as row_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the project that can be changed; the embedded weights are not copied."""
    copy = tmp_path / "tree"
    for folder in ("nst", "flows", "docs", "manifests"):
        shutil.copytree(
            ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "data")
        )
    shutil.copy(ROOT / "README.md", copy)
    (copy / "nst/painting/data").symlink_to(ROOT / "nst/painting/data")
    return copy


def add_field(path: Path, before: str, field: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, field + before), encoding="utf-8")


def answer(tree: Path, code: str, *arguments: object) -> dict[str, Any]:
    """What the copy's own code prints as JSON in its last line."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": f"{tree}{os.pathsep}{tree / 'flows'}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


SETTING = """    night_shift: Annotated[
        int, Field(ge=1, le=24, description="Hours of the night to paint in.")
    ] = 8

"""

ASK_OF_A_SETTING = """
import inspect, io, json, sys
from contextlib import redirect_stdout
from pathlib import Path
import nst
from docs import reference
from nst.cli import app
from nst_flows.local import parameters_of
from nst_flows.stylize import stylize_manifest

assert nst.__file__.startswith(str(Path.cwd())), nst.__file__
manifest, output = sys.argv[1:]

def said(*arguments):
    with redirect_stdout(io.StringIO()) as told:
        app([*arguments], standalone_mode=False)
    return told.getvalue()

help = said("run", "--help")
said("run", manifest, "--output", output + "/cli", "--night-shift", "9", "--no-isolate")
nst.run(manifest, output + "/api", night_shift=10, isolate=False)
try:
    nst.plan(manifest, night_shift=25)
except nst.ConfigError as exc:
    error = str(exc)
print(json.dumps({
    "help": " ".join(help.split()),
    "flow": stylize_manifest.parameters.properties["night_shift"],
    "parameters": parameters_of(nst.RunSettings(output="/o", night_shift=3))["night_shift"],
    "accounts": [nst.open(f"{output}/{n}").report["settings"]["night_shift"] for n in ("cli", "api")],
    "signature": str(inspect.signature(nst.run).parameters["night_shift"]),
    "error": error,
    "table": reference.rewritten(Path("docs/OPERATE.md").read_text()),
    "readme": reference.rewritten(Path("README.md").read_text()),
}))
"""


def test_a_setting_of_a_run_arrives_wherever_settings_are(tree: Path, tmp_path: Path) -> None:
    add_field(tree / "nst/settings.py", "    def __post_init__(self) -> None:\n", SETTING)
    manifest = write_project(tmp_path / "in", [row_of(id="one", size=48, steps=1)])
    found = answer(tree, ASK_OF_A_SETTING, manifest, tmp_path / "out")
    assert "--night-shift N Hours of the night to paint in. [default: 8]" in found["help"]
    assert found["flow"] == found["flow"] | {
        "type": "integer",
        "default": 8,
        "minimum": 1,
        "maximum": 24,
        "description": "Hours of the night to paint in. From 1 to 24.",
    }
    assert found["parameters"] == 3
    assert found["accounts"] == [9, 10]
    assert found["signature"] == "night_shift: int = 8"
    assert found["error"] == "night_shift: expected less than or equal to 24; found 25"
    assert (
        "| `night_shift` | `--night-shift` | `8` | Hours of the night to paint in. From 1 to 24. |"
        in found["table"]
    )
    assert "[--night-shift N]" in found["readme"]


PARAMETER = """    grain_sizes: Annotated[
        tuple[Annotated[int, Field(ge=1, le=9)], ...] | None,
        Field(description="Sizes of grain to leave; empty: all."),
        BeforeValidator(_split),
    ] = None
    warmth: Annotated[
        float, Field(ge=-1, le=1, description="How warm the light is."), Number
    ] = 0.25
"""

ASK_OF_A_PARAMETER = """
import json, sys
from pathlib import Path
import nst
from docs import reference
from nst.cli import app
from nst.gallery.fields import fields_of
from nst.output import PARAM_COLUMNS
from nst_flows.stylize import stylize_manifest

assert nst.__file__.startswith(str(Path.cwd())), nst.__file__
manifest, output = sys.argv[1:]
app(["run", manifest, "--output", output, "--set", "warmth=0.5", "--no-isolate"], standalone_mode=False)
table = nst.open(output).metadata
fields = {f.column: f.role for f in fields_of(table.column_names, has_runs=False)}
form = stylize_manifest.parameters.definitions["PictureOverrides"]["properties"]
made = nst.stylize(*Path(manifest).parent.glob("[as].png"), size=48, steps=1, warmth=-1)
names = ["warmth", "grain_sizes"]
print(json.dumps({
    "columns": {c.name: str(c.type) for c in PARAM_COLUMNS if c.name in names},
    "table": {name: [str(table.schema.field(name).type), table[name].to_pylist()] for name in names},
    "fields": [fields.get(name) for name in names],
    "form": form["warmth"],
    "grain": form["grain_sizes"]["anyOf"][0],
    "made": made.outcome.status,
    "docs": reference.rewritten(Path("manifests/README.md").read_text()),
    "output": reference.rewritten(Path("docs/OUTPUT.md").read_text()),
}))
"""


def test_a_picture_parameter_arrives_wherever_parameters_are(tree: Path, tmp_path: Path) -> None:
    add_field(tree / "nst/job.py", "    optimizer: Annotated[\n", PARAMETER)
    rows = [
        row_of(id="one", size=48, steps=1, grain_sizes="1 2"),
        row_of(id="two", size=48, steps=1),
    ]
    manifest = write_project(tmp_path / "in", rows)
    found = answer(tree, ASK_OF_A_PARAMETER, manifest, tmp_path / "out")
    assert found["columns"] == {"grain_sizes": "list<item: int32>", "warmth": "double"}
    # Parquet calls the items of a list otherwise.
    assert found["table"]["warmth"] == ["double", [0.5, 0.5]]
    assert found["table"]["grain_sizes"][1] == [[1, 2], None]
    assert found["fields"] == ["setting", "setting"]
    assert found["form"]["anyOf"][0] == {"type": "number", "minimum": -1, "maximum": 1}
    assert found["form"]["description"] == "How warm the light is. From -1 to 1."
    assert found["grain"]["items"] == {"type": "integer", "minimum": 1, "maximum": 9}
    assert found["made"] == "ok"
    assert "| `warmth` | `0.25` | How warm the light is. From -1 to 1. |" in found["docs"]
    assert "| `warmth` | `double` | How warm the light is. |" in found["output"]
