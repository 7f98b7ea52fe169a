"""What the flow takes, in types of which Prefect makes a form and which it checks before a run."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, create_model

from nst.job import PARAM_FIELDS, PARAMS_ADAPTER, range_text
from nst.settings import DEVICE_PATTERN, FAIL_OVER_PATTERN

Reference = Annotated[str, Field(min_length=1)]
Device = Annotated[str, Field(pattern=DEVICE_PATTERN)]
Lanes = Annotated[int, Field(ge=0, le=64)]
Pixels = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=1e6)]
# Without user, query and fragment: it is shown in the UI, and a name is put behind it.
WebAddress = Annotated[str, Field(pattern=r"^https?://[^\s?#@]+$")]
RunnerAddress = Annotated[str, Field(min_length=1)]
FailOver = Annotated[str, Field(pattern=FAIL_OVER_PATTERN)]
BlockName = Annotated[str, Field(min_length=1)]


def _optional_fields() -> dict[str, Any]:
    """Every picture parameter as one that need not be given, and then is as each row has it.

    Only bounds are kept of what checks them: what texts may stand for numbers is for CSV cells.
    """
    schemas = PARAMS_ADAPTER.json_schema()["properties"]
    fields = {}
    for name, info in PARAM_FIELDS.items():
        bounds = [m for m in info.metadata if not isinstance(m, BeforeValidator | AfterValidator)]
        kind = Annotated[info.annotation, *bounds] if bounds else info.annotation
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
