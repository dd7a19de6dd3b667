"""Errors that a user can mend.

Anything raised as a `UserError` reaches the terminal as one line, `Error: ...`, without a
traceback. The message names the file (or option) and the cure.
"""

from collections.abc import Sequence


class UserError(Exception):
    """Work that failed for a reason the user can mend. The command exits with 1."""

    exit_code = 1


class UsageError(UserError):
    """A request that makes no sense: a wrong option, size or configuration. Exits with 2."""

    exit_code = 2


def listed(values: Sequence, limit: int = 8) -> str:
    """Values as a message names them, the first and the number of the rest: `a, b and 3 more`."""
    shown, rest = ", ".join(str(value) for value in values[:limit]), len(values) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown


def how_to_install(extra: str) -> str:
    """The cure where a library is missing that an extra of this package brings."""
    return f"pip install '.[{extra}]' in a checkout of keras-bisenet"
