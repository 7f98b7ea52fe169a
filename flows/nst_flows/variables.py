"""References to Prefect Variables, read when a run begins.

Prefect's own ways do not last in a deployment with a schedule: `{{ prefect.variables.x }}` becomes the
value of the hour in which it is deployed, and a `workspace_variable` (Prefect 3.8) is filled in for runs
by hand and reaches scheduled ones as it stands.
"""

from prefect.variables import Variable

from nst.errors import ConfigError

PREFIX = "variable:"


def resolved(reference: str) -> str:
    """`reference` itself, or of `variable:NAME` the text of the Prefect Variable called NAME.

    Raises ConfigError where there is no such variable, or where it holds something else than text.
    """
    if not reference.startswith(PREFIX):
        return reference
    name = reference.removeprefix(PREFIX)
    value = Variable.get(name)
    if not isinstance(value, str) or not value:
        found = "none" if value is None else repr(value)
        raise ConfigError(
            f"{reference}: expected a Prefect Variable {name!r} that holds a path or a URL, "
            f"found {found}; prefect variable set {name} VALUE --overwrite"
        )
    return value


def shown(reference: str) -> str:
    """What `resolved` returns, or where that cannot be had the reference: a name is never an error."""
    try:
        return resolved(reference)
    except ConfigError:
        return reference
