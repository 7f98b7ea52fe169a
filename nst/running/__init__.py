"""Groups -> records: load, paint, write, in watched processes, under the lock of the output.

The only room that brings painting and output together. Owns rich."""

import lazy_loader

# What other rooms may use is named in the stub beside this file, and loaded when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
