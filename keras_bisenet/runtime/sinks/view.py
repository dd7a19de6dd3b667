"""The newest answers, encoded once for all who look: what the live page is served from."""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from PIL import Image

from keras_bisenet.imaging.drawing import VideoOverlay, class_shares, flat_palette
from keras_bisenet.runtime.segmenter import Answer
from keras_bisenet.runtime.sinks.base import Style
from keras_bisenet.runtime.sources.base import Frame

KEPT = 3
"""Answers that are kept, for programs that fetch a frame's picture first, and then its mask."""

QUALITY = 80


class Shown:
    """A frame and its answer. Pictures are made when they are first asked for.

    Attributes:
        number: Counts the answers from 1.
        captured: When the frame was captured, by `time.monotonic()`.
    """

    def __init__(self, number: int, frame: Frame, answer: Answer):
        self.number, self.captured = number, frame.captured
        self.frame, self.ids = frame, answer.class_ids
        self._made: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def made(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The bytes `name`, from `make` the first time."""
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            return self._made[name]

    def picture(self) -> bytes:
        """The camera's picture as a JPEG."""
        return self.made("picture", lambda: _jpeg(self.frame.image))

    def mask(self, palette: bytes | None) -> bytes:
        """The class ids as a PNG: grey, or with a palette of RGB colours."""

        def make() -> bytes:
            mask = Image.fromarray(self.ids)
            if palette:
                mask.putpalette(palette)
            file = io.BytesIO()
            mask.save(file, "PNG", compress_level=1)
            return file.getvalue()

        return self.made("mask" if palette else "ids", make)


class View:
    """A sink that keeps the newest answers for whoever looks, and does no work for nobody."""

    places = ()

    def __init__(self, style: Style):
        self.style = style
        self.palette = flat_palette(style.palette)
        self._kept: deque[Shown] = deque(maxlen=KEPT)
        self._number = 0
        self._changed = threading.Condition()
        self._overlay: VideoOverlay | None = None
        self._overlay_lock = threading.Lock()
        self.is_closed = False

    def write(self, frame: Frame, answer: Answer) -> None:
        with self._changed:
            self._number += 1
            self._kept.append(Shown(self._number, frame, answer))
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    def newest(self) -> Shown | None:
        with self._changed:
            return self._kept[-1] if self._kept else None

    def after(self, number: int, seconds: float) -> Shown | None:
        """The newest answer as soon as its number is above `number`; None if none comes.

        A number that has not been yet is of a server before this one: then any answer is newer.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            number = number if number <= self._number else 0
            while not (self._kept and self._kept[-1].number > number):
                left = deadline - time.monotonic()
                if self.is_closed or left <= 0:
                    return None
                self._changed.wait(left)
            return self._kept[-1]

    def numbered(self, number: int) -> Shown | None:
        """The answer of that number, while it is kept."""
        with self._changed:
            return next((shown for shown in self._kept if shown.number == number), None)

    def drawn(self, shown: Shown) -> bytes:
        """A JPEG of the overlay with its legend."""
        return shown.made("drawn", lambda: self._draw(shown))

    def shares(self) -> dict[int, float]:
        """Class id -> share of the newest answer's pixels."""
        shown = self.newest()
        return {} if shown is None else dict(class_shares(shown.ids))

    def _draw(self, shown: Shown) -> bytes:
        size = (shown.ids.shape[0], shown.ids.shape[1])
        with self._overlay_lock:
            if self._overlay is None or self._overlay.size != size:
                style = self.style
                self._overlay = VideoOverlay(size, style.names, style.palette, style.alpha)
            picture = self._overlay.draw(shown.frame.image, shown.ids, shown.frame.time)
            return _jpeg(picture)


def _jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
