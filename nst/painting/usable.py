"""The weights of a backbone, known to fit it."""

from collections.abc import Sequence

from nst.errors import AccessError, ConfigError, WeightsError
from nst.painting import weights
from nst.painting.weights import WeightsFile
from nst.profiles import PROFILES


def usable_weights(
    backbone: str, choice: str | None, layers: Sequence[str] = (), *, download: bool
) -> WeightsFile:
    """The weights of `backbone`, known to fit it; see `weights.obtain`.

    The embedded ones need no look; others have keys, shapes and values checked down to the deepest
    of `layers`, those of the profile if none are named, and their topology as far as it can be told,
    so that no row finds out halfway through a run.
    Raises ConfigError for a file of the user's own that is not to be had or does not fit: it was
    asked for by name. Raises WeightsError for others.
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
