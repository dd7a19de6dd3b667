"""The Raspberry Pi's own cameras: `pi`, or `pi:1` for the second.

By `rpicam-vid`, the system's program, through a pipe: it needs no Python binding, so it works in
any virtual environment. Where that is not there, by picamera2.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

import numpy as np
from PIL import Image

from keras_bisenet.errors import UserError
from keras_bisenet.runtime.sources.base import (
    Frame,
    Source,
    SourceOptions,
    reconnecting,
    turned,
)

NAME = re.compile(r"pi(?::(\d+))?")
PROGRAMS = ("rpicam-vid", "libcamera-vid")  # the second is its name before 2024
SIZE, FPS = (480, 640), 30.0
CURE = "see that the cable is in, and `rpicam-hello --list-cameras` shows the camera"
MOST_DAMAGED = 300
"""Pictures one after the other that cannot be decoded: the camera is given up."""

LARGEST_FRAME = 32 << 20
"""Bytes of one JPEG picture; a stream without an end of picture is no video."""


def open_source(name: str, options: SourceOptions) -> PiCamera | None:
    found = NAME.fullmatch(name)
    return PiCamera(name, int(found[1] or 0), options) if found else None


class PiCamera(Source):
    """A camera on the Pi's own connector."""

    live = True

    def __init__(self, name: str, number: int, options: SourceOptions):
        super().__init__()
        self.name, self.fps = name, options.fps or FPS
        self._number, self._options = number, options
        self._height, self._width = options.camera_size or SIZE
        self._closed = threading.Event()
        self._process: subprocess.Popen | None = None
        self._program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if self._program is None and _picamera2() is None:
            raise UserError(
                f"{name}: neither rpicam-vid nor picamera2 is here: on Raspberry Pi OS, "
                "sudo apt install rpicam-apps-lite"
            )

    def __iter__(self) -> Iterator[Frame]:
        images = self._piped if self._program else self._by_picamera2
        return reconnecting(images, self.name, self._options.patience, self._closed.is_set, CURE)

    def close(self) -> None:
        self._closed.set()
        process = self._process  # the reading thread may let go of it meanwhile
        if process is not None:
            process.terminate()

    def _piped(self) -> Iterator[np.ndarray]:
        command = [
            *(str(self._program), "--nopreview", "--timeout", "0"),
            *("--camera", str(self._number), "--codec", "mjpeg", "--flush", "--output", "-"),
            *("--width", str(self._width), "--height", str(self._height)),
            *("--framerate", f"{self.fps:g}"),
        ]
        with tempfile.TemporaryFile() as errors:
            # Ctrl-C at a terminal reaches all of a session: the program would end before us, and
            # count as lost.
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
            self._process = process
            assert process.stdout is not None
            number, damaged = 0, 0
            try:
                for jpeg in jpegs(process.stdout):
                    image = _decoded(jpeg)
                    if image is None:
                        damaged += 1
                        if damaged > MOST_DAMAGED:
                            raise UserError(f"{self.name}: its pictures are damaged: {CURE}")
                        continue
                    number, damaged = number + 1, 0
                    yield turned(image, self._options.rotate)
            finally:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                process.stdout.close()
                self._process = None
            if number == 0 and not self._closed.is_set():
                raise UserError(f"{self.name}: {_last_line(errors)}: {CURE}")

    def _by_picamera2(self) -> Iterator[np.ndarray]:
        module = _picamera2()
        camera = None
        try:
            camera = module.Picamera2(self._number)
            # Its BGR888 is what everybody else calls RGB: red in the first byte.
            main = {"format": "BGR888", "size": (self._width, self._height)}
            controls = {"FrameRate": self.fps}
            camera.configure(camera.create_video_configuration(main=main, controls=controls))
            camera.start()
            while not self._closed.is_set():
                image = camera.capture_array("main")[:, : self._width]  # rows may be padded
                yield turned(np.ascontiguousarray(image), self._options.rotate)
        except (IndexError, RuntimeError, OSError) as error:
            raise UserError(f"{self.name}: picamera2 gives no picture ({error}): {CURE}") from error
        finally:
            if camera is not None:
                camera.close()


def jpegs(pipe: IO[bytes]) -> Iterator[bytes]:
    """The pictures of a Motion-JPEG stream, the newest where several have come meanwhile.

    Inside a JPEG's image data 0xFF is always followed by 0x00 or a restart marker, so that
    0xFFD9 is its end; cameras' pictures hold no thumbnail, which would have an end of its own.
    """
    waiting = b""
    while True:
        chunk = pipe.read1(1 << 20)  # type: ignore[attr-defined]
        if not chunk:
            return
        waiting += chunk
        end = waiting.rfind(b"\xff\xd9")
        if end < 0:
            if len(waiting) > LARGEST_FRAME:
                return
            continue
        whole, waiting = waiting[: end + 2], waiting[end + 2 :]
        start = whole.rfind(b"\xff\xd8\xff")
        if start >= 0:
            yield whole[start:]


def _decoded(jpeg: bytes) -> np.ndarray | None:
    """RGB uint8 [h, w, 3]; None where the picture is damaged: the next one is not."""
    try:
        with Image.open(io.BytesIO(jpeg)) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _picamera2():
    try:
        import picamera2
    except (ImportError, ValueError):  # or built for another NumPy than the one that is there
        return None
    return picamera2


def _last_line(file) -> str:
    file.seek(0)
    lines = file.read().decode(errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else "it gives no picture"
