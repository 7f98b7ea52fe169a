"""What each command says may be typed next."""

from nst import next_steps
from nst.manifest.matrix import Matrix
from nst.options import words
from nst.settings import SETTING_FIELDS, default_of
from nst.starting import Named, Start, Typed, with_schemes, without_once


def test_what_was_planned_can_be_run_as_it_was_typed() -> None:
    typed = Typed(contents=["my photos/"], styles=["paintings"], backbones=["vgg16"])
    (line,) = next_steps.after_plan(typed, {"size": "64"}, ["--device", "cpu"], None)
    assert line == (
        "to make it: nst run --content 'my photos/' --style paintings --backbone vgg16 "
        "--output output --set size=64 --device cpu"
    )
    (line,) = next_steps.after_plan(Typed(places=["rows.csv"]), {}, [], "s3://b/out")
    assert line == "to make it: nst run rows.csv --output s3://b/out"


def test_settings_that_were_typed_are_said_again_and_defaults_are_not() -> None:
    given = {name: default_of(name) for name in SETTING_FIELDS}
    given |= {"schemes": [], "roots": [], "weights": []}
    assert words(given) == []
    given |= {"device": "cpu", "isolate": False, "keep_going": True, "schemes": ["https", "gs"]}
    assert words(given) == [
        "--device", "cpu", "--allow-scheme", "https", "--allow-scheme", "gs", "--keep-going",
        "--no-isolate",
    ]  # fmt: skip


def test_a_gallery_in_a_bucket_is_served_and_one_on_a_disk_is_opened() -> None:
    start = Start(manifest="/rows.csv", overrides={})
    assert next_steps.after_run(start, "s3://b/out", [], num_failed=1) == [
        "to try the failed rows again: correct them, and type the same again",
        "to look at it: nst gallery s3://b/out --serve",
    ]
    (line,) = next_steps.after_run(start, "/no/such", [], num_failed=0)
    assert line == "to look at it: nst gallery /no/such --open"


def test_what_is_typed_after_a_change_has_the_options_without_which_others_are_painted() -> None:
    matrix = Matrix(contents=(), styles=(), backbones=(), params={})
    named = Named(contents=(), styles=(), matrix=matrix)
    start = Start(manifest="/out/manifest.yaml", overrides={}, named=named)
    given = {"weights": ["vgg19=a file.pth"], "schemes": ["https"], "replace": True, "only": False}
    typed = Typed(contents=("https://h/a.jpg", "b/"), styles=("ftp://h/s.jpg",))
    options = words(without_once(with_schemes(given, typed)))
    *_, line = next_steps.after_run(start, "/no/such", options, num_failed=0)
    assert line.endswith(
        "type nst run /out/manifest.yaml --output /no/such --weights 'vgg19=a file.pth' "
        "--allow-scheme https --allow-scheme ftp"
    )


def test_what_is_wrong_with_an_output_leads_to_its_repair() -> None:
    def said(**values: object) -> str:
        given = {"num_findings": 1, "num_redone": 1, "repaired": False} | values
        return " ".join(next_steps.after_verify("/out", **given))  # type: ignore[arg-type]

    assert said() == "to have it mended: nst verify /out --repair"
    assert said(repaired=True) == "to see that it is mended: run it again, and then nst verify /out"
    assert said(num_findings=0).endswith("nst clean /out --dry-run")
