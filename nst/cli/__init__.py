"""The command line: a thin translation to the steps of a run; it alone prints and exits."""

import lazy_loader

# What other rooms may use is named in the stub beside this file, and loaded when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
