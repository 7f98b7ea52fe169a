from . import contact as contact
from . import exchange as exchange
from . import images as images
from .images import SUFFIXES as SUFFIXES
