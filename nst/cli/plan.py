"""`nst plan` and `nst init`: what comes before a run."""

from typing import Annotated

import typer

from nst import next_steps, options, pipeline, plan_words, sampling, starting, storage
from nst.cli.arguments import (
    BackboneOption,
    ContentOption,
    Given,
    JsonOption,
    PlacesArgument,
    SetOption,
    StyleOption,
)
from nst.cli.exits import errors
from nst.cli.printing import open_page, print_line, print_next, print_start
from nst.documents import plan_document, to_json
from nst.options import pairs, typed_settings
from nst.painting import TORCHVISION
from nst.planning import Estimate, Plan
from nst.profiles import PROFILES
from nst.running import RunProgress
from nst.sampling import SAMPLE_PX, Sample
from nst.settings import RunSettings
from nst.starting import Typed


@options.taking(options.OF_A_PLAN)
def plan(
    places: PlacesArgument = [],  # noqa: B006
    content: ContentOption = [],  # noqa: B006
    style: StyleOption = [],  # noqa: B006
    backbone: BackboneOption = [],  # noqa: B006
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="URL", help="Also say what is already done there."),
    ] = None,
    set_: SetOption = [],  # noqa: B006
    given: Given = {},  # noqa: B006
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate/--no-estimate",
            help="Say what time and memory it will take here, by a measurement of some seconds.",
        ),
    ] = True,
    sample: Annotated[
        int,
        typer.Option(
            metavar="N",
            help=f"Paint N rows that differ, {SAMPLE_PX} px at most, show them, and say what the "
            "rest will take.",
            min=0,
            max=100,
            show_default=False,
        ),
    ] = 0,
    hourly_price: Annotated[
        float,
        typer.Option(
            metavar="N",
            help="With --sample, what an hour of this machine costs, for the cost of the rest.",
            min=0,
            show_default=False,
        ),
    ] = 0,
    open_: Annotated[bool, typer.Option("--open", help="With --sample, open its gallery.")] = False,
    json_: JsonOption = False,
) -> None:
    """Check a manifest and print what would run, in which groups, and what that takes; run nothing.

    Exit status: 0 the manifest is good, also where rows cannot run as things are, which are listed
    with the exit status of a run; 2 it is not; 1 a fault of a store.

    Example: nst plan manifests/study.yaml --output output/study

    Example: nst plan --content photos/ --style paintings/ --sample 3 --open
    """
    with errors("plan", is_json=json_):
        typed = Typed(places=places, contents=content, styles=style, backbones=backbone)
        one = None if typed.manifest or output is None else starting.picture_format(output)
        # A picture of its own is made anew, whatever is beside it.
        place = "-" if output is None or one else storage.absolute(output)
        settings = typed_settings(starting.with_schemes(given, typed), place)
        overrides = pairs(set_, "--set", "FIELD=VALUE")
        start = starting.start_of(typed, settings, overrides, is_kept=place != "-")
        print_start(start, is_kept=False)
        estimated = None
        with start.opened() as manifest, RunProgress():
            made = pipeline.make_plan(
                manifest,
                settings,
                start.overrides,
                download=False,
                resume=place != "-",
                kept_as=start.kept_as,
            )
            if estimate and made.groups:
                chosen = pipeline.as_before(settings) if place != "-" else settings
                estimated = pipeline.estimated(made, chosen)
        sampled = None
        if sample and made.groups:
            with RunProgress() as progress:
                sampled = sampling.paint(made, estimated, sample, settings, progress)
            if open_:
                open_page(sampled.report.gallery_url)
    if json_:
        print(to_json(plan_document(made, estimated, sampled)))
    else:
        _print_plan(made, estimated, settings)
        if sampled is not None:
            _print_sample(sampled, made, hourly_price)
        if made.groups:
            print_next(next_steps.after_plan(typed, overrides, options.words(given), output))


def init(
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="Its name, which ends in .yaml or .csv.")
    ] = "manifest.yaml",
) -> None:
    """Write an example of a manifest that says what each column means. It replaces no file.

    Example: nst init manifest.yaml
    """
    with errors("init"):
        starting.write_example(storage.absolute(file))
    print_line(f"Wrote {file}: name your pictures in it")
    print_next(next_steps.after_init(file))


def _print_plan(plan: Plan, estimate: Estimate | None, settings: RunSettings) -> None:
    downloaded = [
        name for name in PROFILES if settings.weights.get(name, TORCHVISION) == TORCHVISION
    ]
    for line in plan_words.lines(plan, estimate, downloaded):
        print_line(line)


def _print_sample(sample: Sample, plan: Plan, hourly_price: float) -> None:
    for line in plan_words.sample_lines(sample, plan.num_pictures_to_make, hourly_price):
        print_line(line)
