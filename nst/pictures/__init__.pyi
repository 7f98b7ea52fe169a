from . import exchange as exchange
from . import formats as formats
from . import images as images
from .images import SUFFIXES as SUFFIXES
