from . import contact as contact
from . import exchange as exchange
from . import images as images
from .formats import PICTURE_SUFFIXES as PICTURE_SUFFIXES
from .images import SUFFIXES as SUFFIXES
