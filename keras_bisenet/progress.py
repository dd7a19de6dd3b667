"""Progress bars for long work."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

import click


@contextlib.contextmanager
def progress_bar(label: str, length: int) -> Iterator[Callable[..., None]]:
    """Shows a bar on the terminal, and nothing at all where the output is a file.

    Yields:
        `update(n=1, text="")`: moves the bar on by `n`, with `text` behind it.
    """
    if not sys.stderr.isatty():
        yield lambda n=1, text="": None
        return
    shown = [""]
    with click.progressbar(
        length=length, label=label, item_show_func=lambda _: shown[0], file=sys.stderr
    ) as bar:

        def update(n: int = 1, text: str = "") -> None:
            shown[0] = text
            bar.update(n, text)

        yield update
