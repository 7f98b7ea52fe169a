"""Packages that a GPU machine may lack, where nothing can be installed: stand-ins for those."""

import importlib.util
import os
import sys
from pathlib import Path

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


def _is_here(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False
