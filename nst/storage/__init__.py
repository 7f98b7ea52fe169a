"""URL <-> bytes and tables: every file of every store, read and written so that it is proven.

Knows nothing of pictures. Owns fsspec, s3fs and pyarrow."""

import lazy_loader

# What other rooms may use is named in the stub beside this file, and loaded when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
