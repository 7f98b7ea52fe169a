from .parsing import Refusal as Refusal
from .parsing import parse_overrides as parse_overrides
from .reading import Rows as Rows
from .reading import check_urls as check_urls
from .reading import read_manifest as read_manifest
from .rows import OPTIONAL_COLUMNS as OPTIONAL_COLUMNS
from .rows import REQUIRED_COLUMNS as REQUIRED_COLUMNS
