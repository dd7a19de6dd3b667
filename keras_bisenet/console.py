"""What reaches the terminal: the library's log, and C++ libraries kept quiet on stderr.

Library modules speak through `log`, the logger "keras_bisenet", so that a Python program hears
what it asks logging for. Commands show it by `log_on_terminal`: information on stdout as it is,
warnings on stderr as `Warning: ...`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator

import click

log = logging.getLogger("keras_bisenet")


def show_any_text() -> None:
    """Lets stdout and stderr show what their encoding lacks (`\\u4e2d`), and end no work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


class _Terminal(logging.Handler):
    """Prints records where stdout and stderr are at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            is_warning = record.levelno >= logging.WARNING
            click.echo(("Warning: " if is_warning else "") + record.getMessage(), err=is_warning)
        except Exception:  # as every handler: a log line that fails must not end the work
            self.handleError(record)


@contextlib.contextmanager
def log_on_terminal() -> Iterator[None]:
    """Shows the library's log on the terminal while the block runs.

    The command line's group does so for all commands; a process that a command starts does it
    for itself. Within another such block it changes nothing.
    """
    if any(isinstance(handler, _Terminal) for handler in log.handlers):
        yield
        return
    terminal, level, propagate = _Terminal(), log.level, log.propagate
    log.addHandler(terminal)
    log.setLevel(logging.INFO)
    # Libraries may set up logging's root as a side effect: it would show every line again.
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(terminal)
        log.setLevel(level)
        log.propagate = propagate


_stderr_lock = threading.RLock()


@contextlib.contextmanager
def quiet_stderr(
    keep: Callable[[bytes], bool] = lambda line: False, *, show_on_error: bool = False
) -> Iterator[None]:
    """Keeps off the terminal what is written to file descriptor 2 while the block runs.

    C++ libraries write there past Python. The descriptor is the whole process's: other threads'
    lines are held back as well, so the block should be short.

    Args:
        keep: Whether a line (bytes, with its end) is shown after the block all the same.
        show_on_error: Whether everything is shown when the block raises.
    """
    with _stderr_lock, contextlib.ExitStack() as stack:
        try:
            stderr = os.dup(2)
        except OSError:  # closed, as a service's may be: there is nothing to keep quiet
            yield
            return
        stack.callback(os.close, stderr)
        caught = stack.enter_context(tempfile.TemporaryFile())
        _flush()
        os.dup2(caught.fileno(), 2)
        keep_all = False
        try:
            yield
        except BaseException:
            keep_all = show_on_error
            raise
        finally:
            _flush()
            os.dup2(stderr, 2)
            caught.seek(0)
            for line in caught:
                if keep_all or keep(line):
                    os.write(2, line)


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
