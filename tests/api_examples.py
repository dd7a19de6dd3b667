"""The examples of docs/api.md, to be run as they stand."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "api.md"


def examples(section: str) -> list[str]:
    """The Python code under a heading of the page, block by block."""
    text = PAGE.read_text(encoding="utf-8")
    _, _, rest = text.partition(f"\n## {section}\n")
    assert rest, f"{PAGE} has no section {section!r}"
    return re.findall(r"```python\n(.*?)```", rest.split("\n## ")[0], re.DOTALL)


def run_examples(section: str) -> tuple[list[str], dict]:
    """Runs a section's examples one after the other in one namespace.

    Returns:
        What each printed, and the namespace.
    """
    namespace: dict = {}
    printed = []
    for number, code in enumerate(examples(section)):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(code, f"{PAGE.name}, {section}, example {number + 1}", "exec"), namespace)
        printed.append(output.getvalue())
    return printed, namespace
