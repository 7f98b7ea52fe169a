"""Text -> jobs: the rows of a manifest, what is wrong with them, and what they may read.

Knows nothing of torch and of what is done. Owns PyYAML."""

import lazy_loader

# What other rooms may use is named in the stub beside this file, and loaded when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
