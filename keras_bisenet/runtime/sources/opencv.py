"""Cameras of the system (V4L2 on Linux), and videos where PyAV is not installed, by OpenCV."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_bisenet.console import quiet_stderr
from keras_bisenet.errors import UserError, how_to_install
from keras_bisenet.runtime.sources.base import (
    Frame,
    Source,
    SourceOptions,
    reconnecting,
    turned,
    without_password,
)

CURE = "see that it is on, connected, and used by nobody else"


def open_source(name: str, options: SourceOptions) -> Source | None:
    """Opens `0`, `1` ... where no file is called so, and `/dev/video0`."""
    if re.fullmatch(r"/dev/video\d+", name) or (name.isdigit() and not Path(name).exists()):
        return Live(name, options)
    return None


def open_address(address: str, options: SourceOptions) -> Live | VideoFile:
    """Opens a stream, or a video file on a server: what has a number of frames."""
    stream = Live(address, options)
    if not stream.is_file:
        return stream
    stream.disconnect()
    return VideoFile(address, options)


def opencv():
    """The `cv2` module.

    Raises:
        UserError: When OpenCV is not installed.
    """
    # Its own messages would come on top of ours.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        raise UserError(f"videos and cameras need OpenCV: {how_to_install('video')}") from error
    return cv2


class Live(Source):
    """A camera, or a stream by its address.

    Attributes:
        is_file: Whether it has an end, as a file on a server: `VideoFile` reads all of it.
    """

    live = True

    def __init__(self, name: str, options: SourceOptions):
        super().__init__()
        self._address, self._options = name, options
        self.name = without_password(name)
        self._closed = threading.Event()
        self._capture = self._open()
        self.fps = _rate(self._capture)
        self.is_file = self._capture.get(opencv().CAP_PROP_FRAME_COUNT) > 0

    def disconnect(self) -> None:
        """Lets go of what was opened to look at it."""
        capture, self._capture = self._capture, None
        capture.release()

    def __iter__(self) -> Iterator[Frame]:
        return reconnecting(
            self._images, self.name, self._options.patience, self._closed.is_set, CURE
        )

    def close(self) -> None:
        self._closed.set()

    def _open(self):
        cv2 = opencv()
        address = int(self._address) if self._address.isdigit() else self._address
        with quiet_stderr():
            capture = cv2.VideoCapture(address)
        if not capture.isOpened():
            raise UserError(f"{self.name}: no camera or stream answers: {CURE}")
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if self._options.camera_size:
            height, width = self._options.camera_size
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        if self._options.fps:
            capture.set(cv2.CAP_PROP_FPS, self._options.fps)
        return capture

    def _images(self) -> Iterator[np.ndarray]:
        capture, self._capture = self._capture or self._open(), None
        try:
            while not self._closed.is_set():
                more, image = capture.read()
                if not more:
                    return
                yield turned(_rgb(image), self._options.rotate)
        finally:
            capture.release()


class VideoFile(Source):
    """A video file, here or on a server."""

    def __init__(self, place: str, options: SourceOptions):
        super().__init__()
        self.name = without_password(place)
        self._place, self._rotate = place, options.rotate
        self.files = () if "://" in place else (Path(place),)
        self._capture = self._open()
        self.fps = _rate(self._capture)
        length = int(self._capture.get(opencv().CAP_PROP_FRAME_COUNT))
        self.length = length if length > 0 else None

    def _open(self):
        with quiet_stderr():
            capture = opencv().VideoCapture(self._place)
        if not capture.isOpened():
            raise UserError(
                f"{self.name}: OpenCV cannot read this video: convert it to .mp4 (H.264)"
            )
        return capture

    def __iter__(self) -> Iterator[Frame]:
        number, last = 0, -1.0
        capture, self._capture = self._capture or self._open(), None
        try:
            while True:
                more, image = capture.read()
                if not more:
                    break
                at = capture.get(opencv().CAP_PROP_POS_MSEC) / 1000
                # Where the file's timestamps make no sense, its rate has to do.
                at = at if at > last else last + 1 / (self.fps or 30.0)
                last, number = at, number + 1
                image = turned(_rgb(image), self._rotate)
                yield Frame(f"frame_{number:06d}", image, at, time.monotonic())
        finally:
            capture.release()
        if number == 0:
            raise UserError(f"{self.name}: no frame could be read from it")


def _rgb(image: np.ndarray) -> np.ndarray:
    cv2 = opencv()
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _rate(capture) -> float | None:
    fps = capture.get(opencv().CAP_PROP_FPS)
    return float(fps) if 0 < fps <= 1000 else None
