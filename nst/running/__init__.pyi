from . import attempts as attempts
from . import lease as lease
from . import nodes as nodes
from . import runs as runs
from .attempts import PortionResult as PortionResult
from .lease import Lease as Lease
from .lookout import Lookout as Lookout
from .nodes import RunIdentity as RunIdentity
from .outcomes import write_metadata as write_metadata
from .portions import make_portion as make_portion
from .portions import remaining as remaining
from .previews import make_missing_previews as make_missing_previews
from .progress import RunProgress as RunProgress
from .progress import Tally as Tally
from .reports import (
    MAX_FAILED as MAX_FAILED,
)
from .reports import (
    Listener as Listener,
)
from .reports import (
    Listeners as Listeners,
)
from .reports import (
    NoListener as NoListener,
)
from .reports import (
    PortionReport as PortionReport,
)
from .reports import (
    RunReport as RunReport,
)
from .reports import (
    counting_failures as counting_failures,
)
from .reports import (
    max_failed as max_failed,
)
from .runs import Interrupted as Interrupted
from .runs import as_before as as_before
from .session import (
    InThisProcess as InThisProcess,
)
from .session import (
    Painter as Painter,
)
from .session import (
    Session as Session,
)
from .session import (
    num_lanes_for as num_lanes_for,
)
from .session import (
    open_painter as open_painter,
)
from .session import (
    run_in_lanes as run_in_lanes,
)
from .session import (
    run_in_order as run_in_order,
)
from .session import (
    why_it_ended as why_it_ended,
)
from .speed import probe as probe
