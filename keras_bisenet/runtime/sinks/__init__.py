"""Where answers go: one module for each kind of sink, those that `run` writes in `SINKS`.

A module of a sink has `open_sink(out, source, style)`, which returns a `Sink`, or None where
`out` is a place of another kind.
"""

from __future__ import annotations

import importlib

from keras_bisenet.errors import UsageError
from keras_bisenet.runtime.sinks.base import Sink, Style
from keras_bisenet.runtime.sources.base import Source

SINKS = (  # asked in this order
    "video",
    "pictures",
)


def open_sink(out: str, source: Source, style: Style) -> Sink:
    """Opens the place `out` for the answers to a source's frames. Nothing is written yet.

    Raises:
        UsageError: When `out` is of the wrong kind for these frames, or would overwrite one.
    """
    for module in SINKS:
        sink = importlib.import_module(f"{__name__}.{module}").open_sink(out, source, style)
        if sink is not None:
            return sink
    raise UsageError(f"{out}: nothing here writes such a file")


__all__ = ["SINKS", "Sink", "Style", "open_sink"]
