"""Progress bars for long work, and a line that says how endless work is doing."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

import click


@contextlib.contextmanager
def progress_bar(label: str, length: int) -> Iterator[Callable[..., None]]:
    """Shows a bar on the terminal, and nothing at all where the output is a file.

    Yields:
        `update(n=1, text="")`: moves the bar on by `n`, with `text` behind it.
    """
    if sys.stderr is None or not sys.stderr.isatty():  # a service may have closed it
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


@contextlib.contextmanager
def status_line(text: Callable[[], str], seconds: float = 1.0) -> Iterator[None]:
    """Shows `text()` on the terminal's last line, anew each second, while the block runs.

    Where the output is a file it shows nothing.
    """
    if sys.stderr is None or not sys.stderr.isatty():  # a service may have closed it
        yield
        return
    ended = threading.Event()

    def show() -> None:
        while not ended.wait(seconds):
            click.echo(f"\r\033[K{text()}", nl=False, err=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        click.echo("\r\033[K", nl=False, err=True)
