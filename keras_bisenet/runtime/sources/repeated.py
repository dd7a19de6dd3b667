"""A video file as a camera: at its own pace, over and over."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from keras_bisenet.errors import UsageError
from keras_bisenet.runtime.sources.base import Frame, Source


class Repeated(Source):
    """The frames of `source`, each at its time, from the start again when it ends."""

    live = True

    def __init__(self, source: Source):
        super().__init__()
        if source.kind != "video":
            raise UsageError(f"{source.name}: name a camera, a stream or a video")
        self.name, self.fps, self.files = source.name, source.fps, source.files
        self._source = source
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        start, offset, last = time.monotonic(), 0.0, 0.0
        while not self._closed.is_set():
            for frame in self._source:
                last = offset + frame.time
                if self._closed.wait(max(0.0, start + last - time.monotonic())):
                    return
                yield Frame(frame.name, frame.picture, last, time.monotonic())
            offset = last + 1 / (self.fps or 30.0)

    def close(self) -> None:
        self._closed.set()
        self._source.close()
