"""The settings of a run as options of the command line, made of their fields."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from nst.errors import ConfigError
from nst.redaction import redacted
from nst.settings import (
    SETTING_FIELDS,
    RunSettings,
    default_of,
    option_name,
    option_of,
    settings_of,
)
from nst.storage import absolute

# Where a command's parameter of this name stands, its options of settings stand.
_GIVEN = "given"

ALL = tuple(SETTING_FIELDS)
OF_A_PLAN = tuple(name for name in ALL if option_of(name).of_plan)


def taking(names: Iterable[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command whose parameter `given` is made of an option for each of these settings.

    It is a mapping from the settings to what was typed, for `typed_settings`.
    """
    options = {name: _parameter(name) for name in names}

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def taking_options(**typed: Any) -> None:
            given = {name: typed.pop(name) for name in options}
            command(**typed, given=given)

        parameters: list[inspect.Parameter] = []
        for each in inspect.signature(command).parameters.values():
            own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
            parameters += options.values() if each.name == _GIVEN else own
        # What Typer makes the options of.
        taking_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        taking_options.__annotations__ = {each.name: each.annotation for each in parameters}
        return taking_options

    return decorated


def typed_settings(given: Mapping[str, Any], output: str) -> RunSettings:
    """The settings that were typed. Raises ConfigError with each option that cannot be."""
    values = {name: _value(name, typed) for name, typed in given.items()}
    return settings_of(output, values, absolute=absolute, called=option_name)


def words(given: Mapping[str, Any]) -> list[str]:
    """The settings that were typed, as words that say the same again; none for a default."""
    found: list[str] = []
    for name, typed in given.items():
        flag, default = option_name(name), default_of(name)
        if isinstance(typed, bool):
            off = f"--no-{flag.removeprefix('--')}"
            found += [] if typed == default else [flag if typed else off]
        elif isinstance(typed, list):
            found += [word for text in typed for word in (flag, text)]
        elif str(typed) != str(default):
            found += [flag, str(typed)]
    return found


def pairs(texts: Iterable[str], option: str, form: str) -> dict[str, str]:
    """Texts of the form NAME=VALUE as a mapping. Raises ConfigError for others and for a name twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"{option}: expected {form}; found {redacted(text)!r}")
        if name in found:
            raise ConfigError(f"{option}: expected {name} once; found {redacted(text)!r} too")
        found[name] = value
    return found


def _parameter(name: str) -> inspect.Parameter:
    """The option of a setting, as a parameter of which Typer makes it."""
    field, option, flag = SETTING_FIELDS[name], option_of(name), option_name(name)
    kind, default, metavar = field.annotation, default_of(name), option.metavar
    said = option.help or field.description
    if get_origin(kind) is Literal:
        metavar = metavar or "|".join(get_args(kind))
        kind = str
    if kind in (int, float):
        # What is no number is refused as every other value is, with what was found.
        kind, default, metavar = str, str(default), metavar or "N"
    if kind is bool and default:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    if _is_repeatable(name):
        kind, default = list[str], []
        said = f"{said.removesuffix('.')}. Repeatable."
    made = typer.Option(flag, metavar=metavar, help=said)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, made],
    )


def _is_repeatable(name: str) -> bool:
    return get_origin(SETTING_FIELDS[name].annotation) in (tuple, Mapping)


def _value(name: str, typed: Any) -> Any:
    """What is meant by what was typed: several texts are the entries of a setting."""
    if not _is_repeatable(name):
        return typed
    if get_origin(SETTING_FIELDS[name].annotation) is Mapping:
        form, _, _ = str(option_of(name).metavar or "NAME=VALUE").partition("[")
        return pairs(typed, option_name(name), form)
    return (*default_of(name), *typed) if option_of(name).adds else tuple(typed)
