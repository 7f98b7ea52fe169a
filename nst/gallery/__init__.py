"""Table -> site: the pages, data files and scripts in which people compare pictures.

Sees the metadata of outputs alone. Owns Jinja and the minifier."""

import lazy_loader

# What other rooms may use is named in the stub beside this file, and loaded when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
