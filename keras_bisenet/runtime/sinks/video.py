"""Video files: overlays with a legend, at the source's own times, with the source's sound.

By PyAV, as H.264 that browsers and phones play. Where PyAV is not installed OpenCV writes
MPEG-4 Part 2, which they do not play, at an even rate and without sound, and a warning says so.
"""

from __future__ import annotations

import contextlib
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from keras_bisenet.console import log, quiet_stderr
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.files import replacing
from keras_bisenet.imaging.drawing import VideoOverlay
from keras_bisenet.runtime.segmenter import Answer
from keras_bisenet.runtime.sinks.base import Style
from keras_bisenet.runtime.sinks.yuv import YuvOverlay, take_colours
from keras_bisenet.runtime.sources.av import open_container, pyav
from keras_bisenet.runtime.sources.base import Frame, Source
from keras_bisenet.runtime.sources.opencv import opencv

# Suffix -> (FFmpeg's encoder, its options, OpenCV's code for what it writes in its place).
# The preset costs half of the processor's time that the next one does, for half as many bytes
# again; without "zerolatency" frames wait in the encoder, and each of its threads adds to the cost.
# One quantizer for all costs a fifth less than "crf": "24", which looks each frame through first;
# on streets its files are as good and as large.
_H264 = ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "qp": "23"}, "mp4v")
CODECS = {
    ".mp4": _H264,
    ".mov": _H264,
    ".m4v": _H264,
    ".mkv": _H264,
    ".webm": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "crf": "20"}, "VP80"),
    ".avi": ("mjpeg", {"qscale": "4"}, "MJPG"),
    ".mpg": ("mpeg2video", {"qscale": "4"}, "MPG1"),
    ".mpeg": ("mpeg2video", {"qscale": "4"}, "MPG1"),
}

EVEN = (".avi", ".mpg", ".mpeg")
"""Containers that know an even rate only: frames are repeated or left out to hold the time."""

CLOCK = Fraction(1, 90_000)
"""Seconds that a timestamp counts in, elsewhere."""

ONE_THREAD = 1 << 19
"""Pixels of a picture up to which one thread encodes it, as several cost a quarter more."""

DEFAULT_RATE = 30.0
MPEG_RATES = (24.0, 25.0, 30.0, 50.0, 60.0)
"""The rates that MPEG-1 and MPEG-2 know."""


def open_sink(out: str, source: Source, style: Style) -> Video | None:
    """A file with a video's suffix, for a source that is one."""
    path = Path(out)
    if source.kind != "video" or path.suffix.lower() not in CODECS or path.is_dir():
        return None
    if style.output != "overlay":
        raise UsageError(f"{out}: class ids do not survive in a video: give a folder as OUT")
    if path.resolve() in {file.resolve() for file in source.files}:
        raise UsageError(f"{out}: this would overwrite the source")
    return Video(path, source, style)


class Video:
    """Writes a video file, or with `style.segment` one after the other, each of them whole.

    The first frame opens the file. Whatever ends the work, what was written stays, as far as the
    file can still be closed: on a full disk it cannot, and is dropped.

    Attributes:
        places: The files, the one that is being written among them.
    """

    def __init__(self, path: Path, source: Source, style: Style):
        self._path, self._style, self._source = path, style, source
        self._overlay: VideoOverlay | YuvOverlay | None = None
        self._size: tuple[int, int] | None = None
        self._open = contextlib.ExitStack()
        self._writer: _AvWriter | _OpenCvWriter | None = None
        self._began = 0.0
        self.places: list[Path] = []
        if pyav() is None:
            opencv()  # says what to install where neither is there
            if path.suffix.lower() in (".mp4", ".mov", ".m4v", ".mkv"):
                log.warning(
                    "%s: OpenCV writes MPEG-4 Part 2 without sound, which browsers and phones do "
                    "not play: pip install av",
                    path,
                )
            elif not source.live:
                log.warning("%s: OpenCV writes no sound: pip install av", path)

    def write(self, frame: Frame, answer: Answer) -> None:
        size = (answer.class_ids.shape[0], answer.class_ids.shape[1])
        if self._writer is not None:
            # A source may come back from a loss, or go on, in another size.
            if self._is_full(frame) or (self._style.segment and size != self._size):
                self._end(frame.time - self._began)
            elif size != self._size:
                raise UserError(
                    f"{self._source.name}: its frames changed to another size at {frame.name}: "
                    "record with --segment, or into a folder"
                )
        try:
            picture = self._draw(frame, answer, size)
            if self._writer is None:
                self._begin(frame, picture)
            assert self._writer is not None
            self._writer.write(picture, frame.time - self._began)
        except BaseException as error:
            if self._writer is None:
                self._drop(error)
            else:
                with contextlib.suppress(Exception):
                    self._end()
            raise

    def close(self) -> None:
        if self._writer is not None:
            self._end()

    def _is_full(self, frame: Frame) -> bool:
        return bool(self._style.segment) and frame.time - self._began >= (self._style.segment or 0)

    def _draw(self, frame: Frame, answer: Answer, size: tuple[int, int]) -> Any:
        """RGB, or an `av.VideoFrame` where the file is coded as such."""
        if size != self._size:
            style = self._style
            is_yuv = pyav() is not None and _pixel_format(self._path) == "yuv420p"
            kind = YuvOverlay if is_yuv and YuvOverlay.fits(size) else VideoOverlay
            self._overlay = kind(size, style.names, style.palette, style.alpha)
            self._size = size
        if isinstance(self._overlay, YuvOverlay):
            return self._overlay.draw(frame, answer.class_ids)
        assert self._overlay is not None
        return self._overlay.draw(frame.image, answer.class_ids, frame.time)

    def _begin(self, frame: Frame, picture: Any) -> None:
        path = self._next_path()
        self._temporary = self._open.enter_context(replacing(path))
        self._began = frame.time if self._style.segment else 0.0
        fps, audio = self._source.fps, self._source.audio
        if pyav() is None:
            self._writer = _OpenCvWriter(self._temporary, path, picture, fps)
        else:
            self._writer = _AvWriter(self._temporary, path, picture, fps, audio, self._began)
        self.places.append(path)

    def _next_path(self) -> Path:
        if not self._style.segment:
            return self._path
        number = len(self.places) + 1
        while True:
            path = self._path.with_name(f"{self._path.stem}_{number:04d}{self._path.suffix}")
            if not path.exists():
                return path
            number += 1

    def _end(self, until: float | None = None) -> None:
        """Makes the file whole; `until`, its seconds, where another one goes on from there."""
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close(until)
                # Before it gets its name: a power cut must not leave an empty segment.
                with open(self._temporary, "rb") as written:
                    os.fsync(written.fileno())
        except BaseException as error:
            self.places.pop()
            self._drop(error)
            raise
        self._open.close()

    def _drop(self, error: BaseException) -> None:
        """Removes a file that cannot be made whole, or has nothing in it."""
        self._open.__exit__(type(error), error, error.__traceback__)


def _pixel_format(path: Path) -> str:
    return "yuvj420p" if CODECS[path.suffix.lower()][0] == "mjpeg" else "yuv420p"


class _AvWriter:
    """A video file by PyAV, of pictures that are all like the first one: RGB, or
    `av.VideoFrame`s."""

    def __init__(
        self,
        temporary: Path,
        path: Path,
        first,
        fps: float | None,
        audio: str | None,
        began: float,
    ):
        av = pyav()
        self._path = path
        suffix = path.suffix.lower()
        codec, options, _ = CODECS[suffix]
        is_rgb = isinstance(first, np.ndarray)
        size = first.shape[:2] if is_rgb else (first.height, first.width)
        rate = Fraction(_rate(suffix, fps)).limit_denominator(1001)
        self._step: Fraction | None = 1 / rate if suffix in EVEN else None
        try:
            # With its index at the start, a browser plays it before it has all of it.
            container = {"movflags": "+faststart"} if suffix in (".mp4", ".mov", ".m4v") else {}
            self._file = av.open(str(temporary), "w", options=container)
            if size[0] * size[1] <= ONE_THREAD:
                options = {**options, "threads": "1"}
            self._stream = self._file.add_stream(codec, rate=rate, options=options)
        except (av.error.FFmpegError, ValueError) as error:
            raise UserError(f"{path}: PyAV cannot write such a video here ({error})") from error
        self._stream.height, self._stream.width = size
        if not is_rgb:
            take_colours(self._stream.codec_context, first)
        self._stream.pix_fmt = _pixel_format(path)
        self._stream.codec_context.time_base = self._step or CLOCK
        self._last = -1
        self._picture: Any = None
        self._sound = _Sound(audio, began, self._file, path) if audio else None

    def write(self, picture: Any, time: float) -> None:
        at = round(time / self._stream.codec_context.time_base)
        if self._step is None:
            self._encode(picture, max(at, self._last + 1))
        else:
            # An even rate: what came before fills the gap, what comes too early is left out.
            while self._picture is not None and self._last + 1 < at:
                self._encode(self._picture, self._last + 1)
            if at > self._last:
                self._encode(picture, at if self._picture is not None else 0)
            self._picture = picture.copy() if isinstance(picture, np.ndarray) else picture
        if self._sound:
            self._sound.copy_until(time)

    def close(self, until: float | None) -> None:
        """Ends the file, with its sound as far as `until`, or as it goes on behind the pictures."""
        try:
            if self._last >= 0:
                self._file.mux(self._stream.encode(None))
            if until is None:
                until = (self._last + 1) * float(self._time_base()) + 0.5
            if self._sound:
                self._sound.copy_until(until)
        finally:
            if self._sound:
                self._sound.close()
            self._file.close()

    def _time_base(self) -> Fraction:
        return self._step or CLOCK

    def _encode(self, picture: Any, at: int) -> None:
        frame = picture
        if isinstance(picture, np.ndarray):
            frame = pyav().VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = at, self._time_base()
        self._last = at
        self._file.mux(self._stream.encode(frame))


def _rate(suffix: str, fps: float | None) -> float:
    """The frames a second of a file, where its container knows only one rate for all of it."""
    fps = fps or DEFAULT_RATE
    if CODECS[suffix][0] == "mpeg2video":
        return next((rate for rate in MPEG_RATES if rate >= fps), MPEG_RATES[-1])
    return fps


class _Sound:
    """A file's sound, copied as it is, in step with the pictures.

    Args:
        source: The file, or its address.
        began: Seconds of it that come before what is copied.
        file: The `av` container that it goes into.
        path: What that is called.
    """

    def __init__(self, source: str, began: float, file, path: Path):
        av = pyav()
        self._source = open_container(source)
        self._stream = None
        audio = self._source.streams.audio[0]
        try:
            if audio.codec_context.name in file.supported_codecs or not file.supported_codecs:
                self._stream = file.add_stream_from_template(audio)
        except (av.error.FFmpegError, ValueError, AttributeError):
            self._stream = None
        if self._stream is None:
            name = audio.codec_context.name
            log.warning("%s: a %s file cannot hold its sound (%s)", path, path.suffix, name)
        start = self._source.start_time
        self._offset = (0.0 if start is None else start / 1e6) + began
        self._is_cut = began > 0
        if began > 0:
            with contextlib.suppress(av.error.FFmpegError):  # else all before is read as well
                self._source.seek(round(self._offset / audio.time_base), stream=audio)
        self._packets = self._source.demux(audio)
        self._waiting = None

    def copy_until(self, time: float) -> None:
        while self._stream is not None:
            packet = self._waiting or next(self._packets, None)
            self._waiting = None
            if packet is None:
                self._stream = None
                return
            if packet.dts is None or packet.pts is None:
                continue
            at = float(packet.pts * packet.time_base) - self._offset
            if at >= time:
                self._waiting = packet
                return
            if at < 0 and self._is_cut:
                continue
            shift = round(self._offset / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = self._stream
            self._stream.container.mux(packet)

    def close(self) -> None:
        self._source.close()


class _OpenCvWriter:
    """A video file by OpenCV: an even rate, at which frames are repeated or left out."""

    def __init__(self, temporary: Path, path: Path, first, fps: float | None):
        cv2 = opencv()
        self._rate = _rate(path.suffix.lower(), fps)
        code = cv2.VideoWriter_fourcc(*CODECS[path.suffix.lower()][2])
        size = (first.shape[1], first.shape[0])
        with quiet_stderr():
            self._file = cv2.VideoWriter(str(temporary), code, self._rate, size)
        if not self._file.isOpened():
            raise UserError(f"{path}: OpenCV cannot write this kind of video here: try .avi")
        self._written = 0

    def write(self, picture: np.ndarray, time: float) -> None:
        cv2 = opencv()
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        while self._written <= round(time * self._rate):
            self._file.write(bgr)
            self._written += 1

    def close(self, _: float | None) -> None:
        self._file.release()
