"""Text for a terminal: tables, and what a file says."""

from __future__ import annotations

from collections.abc import Iterable


def table(rows: Iterable[tuple], right: tuple[int, ...] = (), indent: str = "") -> list[str]:
    """Rows as aligned lines; the columns in `right` are flush right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        indent
        + "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def short(text: str, longest: int) -> str:
    """`text` with at most `longest` characters."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def printable(text: str) -> str:
    """`text`, which may come from a file, without control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
