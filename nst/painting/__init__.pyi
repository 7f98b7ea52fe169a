from . import (
    colors as colors,
)
from . import (
    devices as devices,
)
from . import (
    memory as memory,
)
from . import (
    regions as regions,
)
from . import (
    weights as weights,
)
from .backbones import Backbone as Backbone
from .backbones import load_backbone as load_backbone
from .devices import (
    device_name as device_name,
)
from .devices import (
    free_memory as free_memory,
)
from .devices import (
    is_out_of_memory as is_out_of_memory,
)
from .devices import (
    resolve_device as resolve_device,
)
from .devices import (
    resolve_devices as resolve_devices,
)
from .engine import OnStep as OnStep
from .engine import Stylized as Stylized
from .engine import stylize as stylize
from .memo import Memo as Memo
from .memory import Memory as Memory
from .memory import memory_of as memory_of
from .objective import Objective as Objective
from .objective import runs_items_together as runs_items_together
from .optimizers import OPTIMIZERS as OPTIMIZERS
from .precision import resolve_precision as resolve_precision
from .rulers import Measures as Measures
from .rulers import Rulers as Rulers
from .rulers import Sources as Sources
from .targets import (
    LOSS_NAMES as LOSS_NAMES,
)
from .targets import (
    Item as Item,
)
from .targets import (
    Losses as Losses,
)
from .targets import (
    StyleMemo as StyleMemo,
)
from .usable import usable_weights as usable_weights
from .weights import (
    TORCHVISION as TORCHVISION,
)
from .weights import (
    WeightsFile as WeightsFile,
)
from .weights import (
    load_state as load_state,
)
from .weights import (
    obtain as obtain,
)
