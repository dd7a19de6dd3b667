"""What can be wrong with a data set, as one object each that names files and the cure."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_bisenet.errors import UserError, listed


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a data set, or that its user should know.

    Args:
        rule: What kind of problem, such as `missing-mask`.
        severity: `error` or `warning`.
        message: What was found.
        files: The files (or the folder) where it was found.
        cure: What to do.
    """

    rule: str
    severity: str
    message: str
    files: tuple[Path, ...]
    cure: str

    def __str__(self) -> str:
        """One line: files, message, cure."""
        return ": ".join(part for part in (listed(self.files, 2), self.message, self.cure) if part)


def combined(problems: Iterable[Problem]) -> list[Problem]:
    """One problem for all of a rule, with the first of its messages and the number of them."""
    by_rule: dict[str, list[Problem]] = {}
    for problem in problems:
        by_rule.setdefault(problem.rule, []).append(problem)
    return [
        dataclasses.replace(
            same[0],
            message=f"{same[0].message} ({len(same)} such files)",
            files=tuple(problem.files[0] for problem in same),
        )
        if len(same) > 1
        else same[0]
        for same in by_rule.values()
    ]


def print_warning(problem: Problem) -> None:
    """Prints a problem to stderr, once in a process however often it is met."""
    if problem not in _printed:
        _printed.add(problem)
        if sys.stderr is not None:  # a service may have closed it
            text = f"Warning: {problem}"
            print(text.encode("utf-8", "backslashreplace").decode(), file=sys.stderr)


_printed: set[Problem] = set()


class SampleError(UserError):
    """A pair of files that cannot be used.

    Attributes:
        problem: What is wrong with it.
        found: For `unknown-ids` the ids, for `unknown-colours` and `colour-mask` the RGB colours
            that the mask holds and its label map does not declare.
    """

    def __init__(self, problem: Problem, found: Sequence = ()):
        super().__init__(problem, tuple(found))
        self.problem = problem
        self.found = tuple(found)

    def __str__(self) -> str:
        return str(self.problem)
