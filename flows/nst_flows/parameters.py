"""What the flow takes, in types of which Prefect makes a form and which it checks before a run."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, create_model

from nst.job import PARAM_FIELDS, PARAMS_ADAPTER, range_text
from nst.settings import SETTING_FIELDS, Option, RunSettings, default_of

Reference = Annotated[str, Field(min_length=1)]
# Without user, query and fragment: it is shown in the UI, and a name is put behind it.
WebAddress = Annotated[str, Field(pattern=r"^https?://[^\s?#@]+$")]
RunnerAddress = Annotated[str, Field(min_length=1)]
BlockName = Annotated[str, Field(min_length=1)]

F = TypeVar("F", bound=Callable[..., Any])


def taking_settings(function: F) -> F:
    """The function, in whose signature and docstring each setting stands in place of `**settings`.

    Of these Prefect makes parameters. Lists and mappings may be null, which is the default.
    """
    own = [
        each
        for each in inspect.signature(function, eval_str=True).parameters.values()
        if each.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    settings = [_parameter(name) for name in SETTING_FIELDS]
    function.__signature__ = inspect.Signature([*own, *settings])  # type: ignore[attr-defined]
    function.__annotations__ = {each.name: each.annotation for each in [*own, *settings]}
    # "Args:" is the last section of the docstring.
    lines = [f"    {name}: {text}" for name, text in _descriptions().items()]
    function.__doc__ = "\n".join([str(inspect.getdoc(function)), *lines])
    return function


def parameters_of(settings: RunSettings) -> dict[str, Any]:
    """The settings as parameters of the flow: plain data."""
    return {name: _plain(getattr(settings, name)) for name in SETTING_FIELDS}


def _parameter(name: str) -> inspect.Parameter:
    field = SETTING_FIELDS[name]
    kind, default = _bounded(field), default_of(name)
    if isinstance(default, Mapping | tuple):
        # A form cannot tell none from the default.
        kind, default = kind | None, None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _descriptions() -> dict[str, str]:
    schemas = TypeAdapter(RunSettings).json_schema()["properties"]
    return {
        name: f"{field.description} {range_text(schemas[name])}".strip()
        for name, field in SETTING_FIELDS.items()
    }


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return dict(value)
        case tuple():
            return list(value)
        case _:
            return value


def _bounded(field: Any) -> Any:
    """The type of a field with its bounds, and nothing else of what checks it.

    What texts may stand for numbers is for CSV cells, and how an option is called for the command line.
    """
    others = BeforeValidator | AfterValidator | Option
    bounds = [each for each in field.metadata if not isinstance(each, others)]
    return Annotated[field.annotation, *bounds] if bounds else field.annotation


def _optional_fields() -> dict[str, Any]:
    """Every picture parameter as one that need not be given, and then is as each row has it."""
    schemas = PARAMS_ADAPTER.json_schema()["properties"]
    fields = {}
    for name, info in PARAM_FIELDS.items():
        kind = _bounded(info)
        if type(None) not in get_args(info.annotation):
            kind = kind | None
        help_ = f"{info.description} {range_text(schemas[name])}".strip()
        fields[name] = (kind, Field(default=None, description=help_))
    return fields


_Optional = create_model("_Optional", __config__=ConfigDict(extra="forbid"), **_optional_fields())


class PictureOverrides(_Optional):  # type: ignore[misc, valid-type]
    """Picture parameters for every row, over the manifest's own; those without a value are not."""

    def given(self) -> dict[str, Any]:
        """Those that have a value; an empty list is one, the backbone's own layers."""
        return dict(self.model_dump(exclude_none=True))


def overrides_of(parsed: Mapping[str, Any]) -> PictureOverrides:
    """Overrides of the values of `parse_overrides`, of which an empty list has become None."""
    return PictureOverrides(**{n: [] if v is None else v for n, v in parsed.items()})
