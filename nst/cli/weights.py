"""`nst weights`: what weights there are."""

from collections.abc import Mapping

from nst import next_steps, options, pipeline
from nst.cli.arguments import Given, JsonOption
from nst.cli.exits import errors
from nst.cli.printing import print_line, print_next
from nst.documents import WeightsDocument, backbone_weights, to_json
from nst.errors import NSTError
from nst.options import typed_settings
from nst.painting import WeightsFile
from nst.profiles import PROFILES


@options.taking(["weights"])
def show_weights(
    given: Given = {},  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Print what weights each backbone has, where from, and how to get the missing ones.

    Example: nst weights --weights resnet50=weights/resnet50.safetensors
    """
    with errors("weights", is_json=json_):
        chosen = typed_settings(given, "-").weights
    found = [backbone_weights(backbone, _weights_of(backbone, chosen)) for backbone in PROFILES]
    if json_:
        print(to_json(WeightsDocument(backbones=found)))
        return
    for each in found:
        if each.error is None:
            print_line(f"{each.backbone}: {each.origin}, {each.uri}")
            print_line(f"    sha256 {each.sha256}")
            if each.topology:
                print_line(f"    topology {each.topology}")
        else:
            print_line(f"{each.backbone}: missing")
            print_line(f"    {each.error}")
    missing = [each.backbone for each in found if each.error is not None]
    print_next(next_steps.after_weights(missing))


def _weights_of(backbone: str, chosen: Mapping[str, str]) -> WeightsFile | NSTError:
    try:
        return pipeline.usable_weights(backbone, chosen.get(backbone), download=False)
    except NSTError as exc:
        return exc
