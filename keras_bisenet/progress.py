"""Progress bars for long work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import click


@contextlib.contextmanager
def progress_bar(label: str, length: int) -> Iterator[Callable[..., None]]:
    """Shows a bar on the terminal, and nothing at all where the output is a file.

    Yields:
        `update(n=1, shown="")`: moves the bar on by `n`, with the text `shown` behind it.
    """
    shown = [""]
    with click.progressbar(
        length=length,
        label=label,
        item_show_func=lambda _: shown[0],
        file=click.get_text_stream("stderr"),
        hidden=not click.get_text_stream("stderr").isatty(),
    ) as bar:

        def update(n: int = 1, text: str = "") -> None:
            shown[0] = text
            bar.update(n, text)

        yield update
