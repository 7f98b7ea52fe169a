"""Packages that a GPU machine may lack, where nothing can be installed: stand-ins for those."""

import importlib.util
import os
import sys
from pathlib import Path

# What has no stand-in.
_NEEDED = (
    *("torch", "torchvision", "PIL", "numpy", "pyarrow", "fsspec", "psutil", "pydantic"),
    *("safetensors", "jinja2"),
)
_ROOT = Path(__file__).parent.parent.parent
_STAND_INS = _ROOT / "bench/stand_ins"


def make_importable() -> tuple[str, ...]:
    """Let this process and those that it starts find the project; what is missing has a stand-in now.

    Returns the names of the packages that are missing. What is here is never replaced.
    """
    missing = tuple(each.name for each in sorted(_STAND_INS.iterdir()) if not _is_here(each.name))
    folders = [str(_ROOT), *(str(_STAND_INS / name) for name in missing)]
    sys.path += [folder for folder in folders if folder not in sys.path]
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*folders, *([inherited] if inherited else [])])
    return missing


def lacking() -> str | None:
    """What to do about needed packages that are not here; None where all are."""
    absent = [name for name in _NEEDED if not _is_here(name)]
    if not absent:
        return None
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"python -m bench.gpu needs {', '.join(absent)}, which {sys.executable} does not have; where "
        f"there is a network, `pip download --only-binary=:all: --python-version {version} NAME` for "
        "each and for what it requires, carry the wheels, `pip install --no-index --no-deps --target "
        "FOLDER *.whl`, and have FOLDER in PYTHONPATH"
    )


def _is_here(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False
