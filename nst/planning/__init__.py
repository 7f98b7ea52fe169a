"""Jobs -> groups: which pictures are done, which cannot be made, and what the others will take.

Reads listings and the first bytes of inputs; paints nothing."""

import lazy_loader

# What other rooms may use is named in the stub beside this file, and loaded when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
