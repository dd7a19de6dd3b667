"""What a source of frames is."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from keras_bisenet.console import log
from keras_bisenet.errors import UserError
from keras_bisenet.imaging.letterbox import Fit


class Picture(Protocol):
    """A picture that becomes RGB when it is asked for: a frame that nobody looks at need not.

    Attributes:
        size: (height, width).
    """

    size: tuple[int, int]

    def image(self) -> np.ndarray:
        """RGB uint8 [h, w, 3]."""

    def placed(self, fit: Fit) -> np.ndarray:
        """The network's input, as `fit.place` gives it of the image, up to rounding."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture, and when it was.

    Attributes:
        name: Its file's name, or `frame_000001`.
        picture: RGB uint8 [h, w, 3], or a `Picture`, as of a video (`av.Decoded`).
        time: Seconds from the source's start: a video's own timestamp, or when a camera gave it.
        captured: When it arrived, by `time.monotonic()`.
    """

    name: str
    picture: np.ndarray | Picture
    time: float
    captured: float

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        if isinstance(self.picture, np.ndarray):
            return self.picture.shape[0], self.picture.shape[1]
        return self.picture.size

    @property
    def image(self) -> np.ndarray:
        """RGB uint8 [h, w, 3]."""
        return self.picture if isinstance(self.picture, np.ndarray) else self.picture.image()

    def placed(self, fit: Fit) -> np.ndarray:
        """The network's input, uint8 [H, W, 3]."""
        if isinstance(self.picture, np.ndarray):
            return fit.place(self.picture)
        return self.picture.placed(fit)


@dataclass(frozen=True)
class SourceOptions:
    """What a user may ask of a camera or a video.

    Attributes:
        camera_size: (height, width) that a camera should deliver.
        fps: Frames per second that a camera should deliver.
        rotate: Degrees clockwise, in quarter turns, on top of what a file says of itself.
        patience: Seconds for which a lost live source is looked for; None, for ever.
    """

    camera_size: tuple[int, int] | None = None
    fps: float | None = None
    rotate: int = 0
    patience: float | None = 30.0


class Source:
    """Frames in order. A new kind of source is a subclass with an `__iter__`.

    Attributes:
        name: What the user called it.
        kind: "image", "folder" or "video": what may be done with its frames.
        live: Whether it goes on until it is stopped, and waits for nobody.
        fps: Frames per second, where it has a rate and says so.
        length: How many frames there are, by its own account; None where it gives none.
        files: The files that it reads, which no answer may overwrite.
        audio: The file, or a file's address, whose sound goes with the frames.
        notes: What a user should know at the end.
        failures: What could not be read, a line each, as far as the iteration has come.
    """

    name: str = ""
    kind: str = "video"
    live: bool = False
    fps: float | None = None
    length: int | None = None
    files: tuple[Path, ...] = ()
    audio: str | None = None

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.failures: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        raise NotImplementedError

    def close(self) -> None:
        """Lets go of the device, from any thread; the iteration then ends soon."""


def turned(image: np.ndarray, clockwise: int) -> np.ndarray:
    """An image turned by quarter turns, in degrees."""
    if clockwise % 360 == 0:
        return image
    return np.ascontiguousarray(np.rot90(image, -clockwise // 90))


def without_password(name: str) -> str:
    """A stream's address as it may be shown: `rtsp://user:secret@host` without the secret."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", name)


FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two attempts to find a lost source: the first, and the longest."""


def reconnecting(
    open_pictures: Callable[[], Iterator[np.ndarray | Picture]],
    name: str,
    patience: float | None,
    is_closed: Callable[[], bool],
    cure: str,
) -> Iterator[Frame]:
    """The frames of a live source that is opened again, with growing pauses, when it is lost.

    Args:
        open_pictures: Opens it and gives what it shows; raises a `UserError` where it is not there.
        name: What the user called it.
        patience: Seconds for which it is looked for; None, for ever.
        is_closed: Whether the iteration shall end.
        cure: What a user can do about a lost source.

    Raises:
        UserError: When it is not there at first, or is lost for longer than `patience`.
    """
    start, number, lost, pause = time.monotonic(), 0, None, FIRST_PAUSE
    while not is_closed():
        try:
            for picture in open_pictures():
                if lost is not None:
                    log.info("%s: back after %.1f s", name, time.monotonic() - lost)
                    lost, pause = None, FIRST_PAUSE
                if number == 0:
                    start = time.monotonic()
                number += 1
                now = time.monotonic()
                yield Frame(f"frame_{number:06d}", picture, now - start, now)
                if is_closed():
                    return
            reason = "it gives no more frames"
        except UserError as error:
            if number == 0:
                raise
            reason = str(error)
        if is_closed():
            return
        if number == 0:
            raise UserError(f"{name}: no frame could be read from it: {cure}")
        if lost is None:
            lost = time.monotonic()
            log.warning("%s: lost after %d frames (%s): looking for it again", name, number, reason)
        if patience is not None and time.monotonic() - lost + pause > patience:
            raise UserError(
                f"{name}: lost after {number} frames, and not back within {patience:g} s: {cure}"
            )
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
