"""Batch neural style transfer: a manifest of content, style and backbone in, a gallery out."""

import lazy_loader

# What Python code may use is named in the stub beside this file, and loaded when it is first asked for.
_getattr, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [*_names, "__version__"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return _version()
    return _getattr(name)


def _version() -> str:
    """That of what is installed, or of the project's folder where nothing can be installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nst")
    except PackageNotFoundError:
        import tomllib
        from pathlib import Path

        project = Path(__file__).parent.parent / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
