from .api import Output as Output
from .api import Stylization as Stylization
from .api import open as open
from .api import plan as plan
from .api import run as run
from .api import stylize as stylize
from .errors import AccessError as AccessError
from .errors import ConfigError as ConfigError
from .errors import ImageError as ImageError
from .errors import ManifestError as ManifestError
from .errors import MemoryLimitError as MemoryLimitError
from .errors import NotFoundError as NotFoundError
from .errors import NSTError as NSTError
from .errors import StorageError as StorageError
from .errors import WeightsError as WeightsError
from .job import Job as Job
from .job import PictureParams as PictureParams
from .output import Outcome as Outcome
from .output import Record as Record
from .planning import Group as Group
from .planning import Plan as Plan
from .running import Listener as Listener
from .running import NoListener as NoListener
from .running import RunReport as RunReport
from .settings import RunSettings as RunSettings

__version__: str
