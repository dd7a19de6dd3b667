"""Video files and streams by address, by PyAV (FFmpeg): timestamps, rotation and all.

OpenCV takes its place where PyAV is not installed.
"""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.imaging.letterbox import Fit
from keras_bisenet.runtime.sources.base import (
    Frame,
    Picture,
    Source,
    SourceOptions,
    reconnecting,
    turned,
    without_password,
)

VIDEO_SUFFIXES = (
    *(".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg"),
    *(".3gp", ".flv", ".wmv", ".ts"),
)

TIMEOUT = 10.0
"""Seconds after which a stream that says nothing is lost."""

SMALLEST = 16
"""Pixels of a side below which the scaler's vectors have nothing to work on."""

ONE_THREAD = 1 << 20
"""Pixels of a picture up to which one thread decodes it. More are left to several, so that a slow
processor keeps up."""

MOST_DAMAGED = 300
"""Packets one after the other that cannot be decoded: what they are of is given up."""

CURE = "see that it is on and reachable"


def open_source(name: str, options: SourceOptions) -> Source | None:
    """Opens an address (`rtsp://...`), or a file by its suffix."""
    is_address = re.match(r"[a-z][a-z0-9+.-]*://", name, re.IGNORECASE)
    path = Path(name)
    if not is_address and (path.suffix.lower() not in VIDEO_SUFFIXES or not path.is_file()):
        return None
    if options.camera_size or options.fps:
        shown = without_password(name)
        raise UsageError(f"{shown}: --camera-size and --fps are for cameras: pi, 0, /dev/video0")
    if pyav() is None:
        from keras_bisenet.runtime.sources import opencv

        return opencv.open_address(name, options) if is_address else opencv.VideoFile(name, options)
    if is_address:
        stream = Stream(name, options)
        if not stream.is_file:
            return stream
        stream.disconnect()
    return VideoFile(name, options)


def pyav():
    """The `av` module; None where PyAV is not installed.

    PyAV keeps FFmpeg's log off, and it stays so: a level of ours would make decoding threads wait
    for Python's lock, which closing a file holds while it waits for them.
    """
    try:
        import av
    except ImportError:
        return None
    return av


class VideoFile(Source):
    """A video file, here or on a server. Frames come at their own times, which need not be even,
    and upright."""

    def __init__(self, place: str, options: SourceOptions):
        super().__init__()
        self.name = without_password(place)
        self._place, self._options = place, options
        self.files = () if "://" in place else (Path(place),)
        with open_container(place) as container:
            stream = _video_stream(container, self.name)
            self.fps = float(stream.average_rate) if stream.average_rate else None
            self.length = stream.frames or None
            if self.length is None and container.duration and self.fps:
                self.length = max(1, round(container.duration / 1e6 * self.fps))
            if container.streams.audio:
                self.audio = place

    def __iter__(self) -> Iterator[Frame]:
        number, last, start = 0, -1.0, None
        step = 1 / (self.fps or 30.0)
        with open_container(self._place) as container:
            for at, picture in _decoded(container, self.name, self._options.rotate):
                if start is None:
                    start = _start(container, at or 0.0)
                at = last + step if at is None else at - start
                if at <= last:  # damaged timestamps: a video's must rise
                    at = last + step
                last, number = at, number + 1
                yield Frame(f"frame_{number:06d}", picture, at, time.monotonic())
        if number == 0:
            raise UserError(f"{self.name}: no frame could be read from it")
        if self.length and number < 0.9 * self.length:
            self.notes.append(
                f"{self.name}: {number} of {self.length} frames could be read: it is cut short"
            )


class Stream(Source):
    """A camera or a broadcast by its address.

    Attributes:
        is_file: Whether it is whole, a file on a server: `VideoFile` reads all of it.
    """

    live = True

    def __init__(self, name: str, options: SourceOptions):
        super().__init__()
        self._address, self._options = name, options
        self.name = without_password(name)
        self._closed = threading.Event()
        self._container = container = self._open()
        stream = _video_stream(container, self.name)
        self.fps = float(stream.average_rate) if stream.average_rate else None
        # A list of a broadcast's next seconds has a size of its own.
        has_size = container.size > 0 and container.format.name not in ("hls", "dash")
        self.is_file = container.duration is not None or has_size

    def disconnect(self) -> None:
        """Lets go of what was opened to look at it."""
        container, self._container = self._container, None
        container.close()

    def __iter__(self) -> Iterator[Frame]:
        return reconnecting(
            self._pictures, self.name, self._options.patience, self._closed.is_set, CURE
        )

    def close(self) -> None:
        self._closed.set()

    def _open(self):
        # The second lets go of what came while FFmpeg made out what it is: it is old by then.
        options = {"flags": "low_delay", "fflags": "nobuffer"}
        return open_container(self._address, options=options)

    def _pictures(self) -> Iterator[Decoded]:
        container, self._container = self._container or self._open(), None
        with container:
            for _, picture in _decoded(container, self.name, self._options.rotate):
                yield picture


class Decoded(Picture):
    """A frame as PyAV decoded it.

    FFmpeg's scaler fits it into the network's input in one step from the video's own colours, at
    an eighth of what Pillow's costs. Both filters are triangles that widen as the picture shrinks.

    Attributes:
        frame: The `av.VideoFrame`.
        turn: Degrees clockwise, in quarter turns, by which it is to be turned.
        size: (height, width), turned.
    """

    def __init__(self, frame: Any, turn: int, converter: Converter):
        self.frame, self.turn = frame, turn % 360
        self._converter = converter
        self.size = self._turned((frame.height, frame.width))

    def image(self) -> np.ndarray:
        return turned(self._converter.whole(self.frame), self.turn)

    def placed(self, fit: Fit) -> np.ndarray:
        content = fit.content_size
        if min(content) < SMALLEST or content[0] >= fit.image_size[0]:
            return fit.place(self.image())  # as it is or larger: Pillow is as fast
        return fit.pad(turned(self._converter.scaled(self.frame, self._turned(content)), self.turn))

    def _turned(self, size: tuple[int, int]) -> tuple[int, int]:
        return size if self.turn % 180 == 0 else (size[1], size[0])


class Converter:
    """A video's frames as RGB, by FFmpeg's swscale. Threads may share one."""

    def __init__(self) -> None:
        self._of_whole, self._of_scaled = scaler(), scaler()
        self._turn = threading.Lock()

    def whole(self, frame: Any) -> np.ndarray:
        """uint8 [h, w, 3]."""
        with self._turn:
            rgb = self._of_whole(frame, format="rgb24")
        return rgb.to_ndarray()

    def scaled(self, frame: Any, size: tuple[int, int]) -> np.ndarray:
        """uint8 [*size, 3]; best always the same size."""
        with self._turn:
            # In planes swscale computes every pixel's own colour. For "rgb24" it takes one for two
            # pixels and cuts its values off, two steps too dark, and even then takes longer.
            planes = self._of_scaled(
                frame, width=size[1], height=size[0], format="gbrp", interpolation="BILINEAR"
            )
        return planes.to_ndarray()


def scaler() -> Callable[..., Any]:
    """`av.VideoFrame.reformat` for one use, which is kept: to set swscale up costs more than a
    picture."""
    av = pyav()
    reformat = av.video.reformatter.VideoReformatter().reformat
    if int(av.__version__.split(".")[0]) < 17:
        return reformat
    # By itself it takes a thread for every CPU: to wake them costs more than they save.
    return functools.partial(reformat, threads=1)


def open_container(name: str, options: dict[str, str] | None = None):
    """An `av` container to read from: a file, or an address.

    Raises:
        UserError: When nothing answers there, or it cannot be read.
    """
    av = pyav()
    options = dict(options or {})
    if name.lower().startswith("rtsp"):
        # UDP, the usual choice, loses packets on a busy Pi, and with them pictures.
        options["rtsp_transport"] = "tcp"
    timeout = TIMEOUT if "://" in name else None
    try:
        return av.open(name, metadata_errors="replace", options=options, timeout=timeout)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        name = without_password(name)
        if "://" in name:
            raise UserError(
                f"{name}: no camera or stream answers ({_reason(error)}): {CURE}"
            ) from error
        raise UserError(
            f"{name}: this video cannot be read ({_reason(error)}): copy it again, or convert it"
        ) from error


def _video_stream(container, name: str):
    if not container.streams.video:
        raise UserError(f"{name}: there is no video in it, only {container.format.long_name}")
    return container.streams.video[0]


def _start(container, first: float) -> float:
    """The time that a file's sound and pictures are counted from, in seconds."""
    return first if container.start_time is None else container.start_time / 1e6


def _decoded(container, name: str, rotate: int) -> Iterator[tuple[float | None, Decoded]]:
    """Each frame and its time in seconds, as far as the file can be read."""
    av = pyav()
    stream = _video_stream(container, name)
    if stream.width * stream.height > ONE_THREAD:
        # Each has a frame of its own, so they hold back as many as they are: a delay that nobody
        # counts, since a camera's picture is taken for new when it comes.
        stream.thread_type = "AUTO"
    else:
        stream.codec_context.thread_count = 1
    converter = Converter()
    errors = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError) as error:
            if "://" in name:  # a stream that is lost; a file that is cut short just ends
                raise UserError(f"{name}: {_reason(error)}") from error
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            errors += 1  # a damaged packet: the next key frame makes up for it
            if errors > MOST_DAMAGED:
                return
            continue
        for frame in frames:
            errors = 0
            yield frame.time, Decoded(frame, rotate - round(_rotation(frame)), converter)


def _rotation(frame) -> float:
    """Degrees counter-clockwise by which a player turns the frame: a phone held upright."""
    return getattr(frame, "rotation", 0)


def _reason(error: Exception) -> str:
    return " ".join((getattr(error, "strerror", None) or str(error)).split())
