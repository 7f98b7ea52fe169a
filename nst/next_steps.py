"""What to type after a command, as lines with the reason first; pure functions of what was typed."""

import shlex
from collections.abc import Mapping, Sequence

from nst import storage
from nst.manifest import as_typed
from nst.starting import Start, Typed


def after_init(file: str) -> list[str]:
    """After an example was written."""
    name = shlex.quote(file)
    return [
        f"to see what it would make: nst plan {name}",
        f"to make it: nst run {name} --output output",
    ]


def after_plan(
    typed: Typed, overrides: Mapping[str, str], options: Sequence[str], output: str | None
) -> list[str]:
    """After a plan with something to make; `options` are the settings as they were typed."""
    return [f"to make it: {_run_line(typed, overrides, options, ['--output', output or 'output'])}"]


def with_output(typed: Typed, overrides: Mapping[str, str], options: Sequence[str]) -> str:
    """The command with the output that it lacks; `options` are the settings as they were typed."""
    to = ["-o", "out.png"] if typed.is_one_picture else ["--output", "output"]
    return _run_line(typed, overrides, options, to)


def _run_line(
    typed: Typed, overrides: Mapping[str, str], options: Sequence[str], to: Sequence[str]
) -> str:
    words = [*typed.places]
    for option, values in (
        ("--content", typed.contents),
        ("--style", typed.styles),
        ("--backbone", typed.backbones),
    ):
        words += [word for value in values for word in (option, value)]
    words += to
    words += [word for name, value in overrides.items() for word in ("--set", f"{name}={value}")]
    return f"nst run {shlex.join([*words, *options])}"


def after_run(start: Start, output: str, options: Sequence[str], *, num_failed: int) -> list[str]:
    """After a run; `options` are the settings as they were typed, without which others are painted."""
    lines = []
    if num_failed:
        lines.append("to try the failed rows again: correct them, and type the same again")
    where = as_typed(output)
    if storage.local_path(output) is None:
        lines.append(f"to look at it: nst gallery {where} --serve")
    else:
        lines.append(f"to look at it: nst gallery {where} --open")
    if start.named is not None:
        manifest = as_typed(start.manifest)
        words = "".join(f" {shlex.quote(word)}" for word in options)
        lines.append(
            f"to change what is painted: edit {manifest}, and type nst run {manifest} --output "
            f"{where}{words}"
        )
    return lines


def after_picture(url: str) -> list[str]:
    """After one picture was painted."""
    return [
        "to paint many: nst run --content PHOTOS/ --style PAINTINGS/ --output OUTPUT",
        f"to paint it stronger: type the same with --set strength=0.7 --replace, or another name "
        f"than {as_typed(url)}",
    ]


def after_gallery(outputs: Sequence[str], to: str | None) -> list[str]:
    """After a gallery was made and not served."""
    place = ["--to", to] if to else []
    return [f"to look at it: nst gallery {shlex.join([*outputs, *place])} --serve"]


def after_verify(output: str, *, num_findings: int, num_redone: int, repaired: bool) -> list[str]:
    """After an output was verified."""
    where = as_typed(output)
    if not num_findings:
        return [f"to see what no row needs any more: nst clean {where} --dry-run"]
    if not repaired:
        return [f"to have it mended: nst verify {where} --repair"]
    again = "run it again, and then " if num_redone else ""
    return [f"to see that it is mended: {again}nst verify {where}"]


def after_clean(output: str, *, num_files: int, dry_run: bool) -> list[str]:
    """After an output was cleaned, or might be."""
    where = as_typed(output)
    if not num_files:
        return []
    step = f"to remove them: nst clean {where}"
    return [step] if dry_run else [f"to check what is left: nst verify {where}"]


def after_weights(missing: Sequence[str]) -> list[str]:
    """After the weights were listed."""
    if not missing:
        return ["to paint: nst run PHOTO.jpg PAINTING.jpg -o out.png"]
    return [
        f"to paint with {name}: nst run MANIFEST --output OUTPUT --weights {name}=FILE-OR-URL"
        for name in missing
    ]
