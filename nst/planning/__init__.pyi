from .estimates import (
    Estimate as Estimate,
)
from .estimates import (
    GroupEstimate as GroupEstimate,
)
from .estimates import (
    Probe as Probe,
)
from .estimates import (
    estimate as estimate,
)
from .plan import (
    Group as Group,
)
from .plan import (
    Input as Input,
)
from .plan import (
    Plan as Plan,
)
from .plan import (
    PlannedJob as PlannedJob,
)
from .plan import (
    Portion as Portion,
)
from .plan import (
    failure_of as failure_of,
)
from .plan import (
    in_batches as in_batches,
)
from .plan import (
    in_portions as in_portions,
)
from .plan import (
    style_digest as style_digest,
)
from .planner import layers_of as layers_of
from .planner import plan_rows as plan_rows
