"""References to Prefect Variables, read when a run begins.

Prefect's own references do not work in a deployment with a schedule: `{{ prefect.variables.x }}` is
replaced once, when it is deployed, and a `workspace_variable` (Prefect 3.8) is filled in only for runs
that are started by hand.
"""

from prefect.variables import Variable

from nst.errors import ConfigError

PREFIX = "variable:"


def resolved(reference: str) -> str:
    """`reference` itself; for `variable:NAME`, the text of the Prefect Variable NAME.

    Raises ConfigError if there is no such variable, or if it does not hold text.
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
    """As `resolved`, or the reference itself if it cannot be resolved; for the name of a run."""
    try:
        return resolved(reference)
    except ConfigError:
        return reference
