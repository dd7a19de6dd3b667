"""What a sink of answers is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from keras_bisenet.runtime.segmenter import Answer
from keras_bisenet.runtime.sources.base import Frame


class Sink(Protocol):
    """Takes frames with their answers, one by one, from one thread.

    Attributes:
        places: The files or the folder where answers are; empty where none are kept.
    """

    places: Sequence[Path]

    def write(self, frame: Frame, answer: Answer) -> None:
        """Takes one. Raises a `UserError` when it cannot go on."""

    def close(self) -> None:
        """Ends; what was written is whole from then on. Called once, whatever has happened."""


@dataclass(frozen=True)
class Style:
    """How answers are drawn.

    Attributes:
        names: Every class's name.
        palette: Every class's colour.
        output: "overlay", "mask" or "both".
        alpha: How strongly the overlay covers the image, 0 to 1.
        segment: Seconds after which a video goes on in a new file; None, never.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    output: str = "overlay"
    alpha: float = 0.5
    segment: float | None = None
