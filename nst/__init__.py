"""Batch neural style transfer: a manifest of content, style and backbone in, a gallery out."""

import lazy_loader

# What Python code may use is named in the stub beside this file, and loaded when it is first asked for.
_getattr, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [*_names, "__version__"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("nst")
    return _getattr(name)
