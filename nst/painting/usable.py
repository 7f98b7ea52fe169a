"""The weights of a backbone, checked to fit it."""

from collections.abc import Sequence

from nst.errors import AccessError, ConfigError, WeightsError
from nst.painting import weights
from nst.painting.weights import WeightsFile
from nst.profiles import PROFILES


def usable_weights(
    backbone: str, choice: str | None, layers: Sequence[str] = (), *, download: bool
) -> WeightsFile:
    """The weights of `backbone`, checked to fit it; see `weights.obtain`.

    The embedded weights need no check. Of others, the keys, shapes and values are checked down to the
    deepest of `layers` (the profile's if none are named), and the topology as far as possible, so that
    no row fails halfway through a run.
    Raises ConfigError for a file that the user named and that is missing or does not fit, and
    WeightsError for other weights.
    """
    try:
        file = weights.obtain(backbone, choice, download=download)
        if file.origin != "embedded":
            from nst.painting.backbones import loaded_stages
            from nst.painting.topology import check_topology

            state = weights.load_state(file)
            loaded_stages(backbone, state, layers or PROFILES[backbone].shares(None, None).layers)
            check_topology(file, state)
    except (WeightsError, AccessError) as exc:
        if choice is None or choice == weights.TORCHVISION:
            raise
        raise ConfigError(f"--weights: {exc}") from exc
    return file
