"""What holds of the tests themselves."""

from __future__ import annotations

import ast
from pathlib import Path

from test_imports import parsed


def test_no_thread_of_a_test_outlives_it():
    """One that is not a daemon keeps the process of a failed test for ever."""
    found = []
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        for node in ast.walk(parsed(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Thread"):
                found.append((path.name, "daemon" in {keyword.arg for keyword in node.keywords}))
    assert len(found) > 5
    assert [name for name, is_daemon in found if not is_daemon] == []
