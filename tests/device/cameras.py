"""Cameras for the tests: they are asked, and answer, as real ones do."""

from __future__ import annotations

import contextlib
import functools
import io
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

BITS = 16


def numbered(number: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """An image that carries a number: a column of it is white for each bit that is set."""
    bits = number >> np.arange(BITS) & 1
    columns = np.arange(size[1]) * BITS // size[1]
    return np.broadcast_to((bits[columns] * 255).astype(np.uint8)[None, :, None], (*size, 3)).copy()


def number_of(image: np.ndarray) -> int:
    """The number in such an image, or in one that was compressed since."""
    columns = (np.arange(BITS) * 2 + 1) * image.shape[1] // (2 * BITS)
    bits = image[: image.shape[0] // 2, columns].mean(axis=(0, 2)) > 127
    return int((bits << np.arange(BITS)).sum())


def jpeg(image: np.ndarray, quality: int = 90) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return file.getvalue()


class Camera:
    """A network camera: Motion JPEG over HTTP, its frames numbered.

    Attributes:
        sent: How many frames it has made.
        connections: How often somebody came.
        broken: While set, it hangs up on everybody.
    """

    def __init__(self, fps: float, size: tuple[int, int] = (48, 64)):
        self.fps, self.size = fps, size
        self.connections = 0
        self.broken = threading.Event()
        self.started = time.monotonic()

    @property
    def sent(self) -> int:
        return int((time.monotonic() - self.started) * self.fps)


@contextlib.contextmanager
def http_camera(fps: float = 30, size: tuple[int, int] = (48, 64)) -> Iterator[Camera]:
    """Yields a camera at `camera.address`."""
    camera = Camera(fps, size)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            camera.connections += 1
            if camera.broken.is_set():
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace;boundary=frame")
            self.end_headers()
            last = -1
            with contextlib.suppress(OSError):
                while not camera.broken.is_set():
                    if camera.sent == last:
                        time.sleep(0.001)
                        continue
                    last = camera.sent
                    picture = jpeg(numbered(last, size))
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}"
                    self.wfile.write(head.encode() + b"\r\n\r\n" + picture + b"\r\n")

        def log_message(self, *_) -> None:
            pass

    with served(Handler) as address:
        camera.address = f"{address}/video"
        try:
            yield camera
        finally:
            camera.broken.set()


@contextlib.contextmanager
def h264_camera(count: int, size: tuple[int, int] = (96, 128)) -> Iterator[str]:
    """Yields the address of a camera that sends so many numbered pictures as H.264, without any
    that wait for later ones, and then is silent."""
    is_over = threading.Event()
    content = h264(count, size)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(content)
                is_over.wait()

        def log_message(self, *_) -> None:
            pass

    with served(Handler) as address:
        try:
            yield f"{address}/video.ts"
        finally:
            is_over.set()


@contextlib.contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """Yields the address of a server that has the files of a folder."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            pass

    with served(functools.partial(Handler, directory=str(folder))) as address:
        yield address


@contextlib.contextmanager
def served(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """Yields the address of a server whose requests the handler answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def h264(count: int, size: tuple[int, int]) -> bytes:
    """Numbered pictures in an MPEG transport stream, 30 a second."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        options = {"preset": "ultrafast", "tune": "zerolatency", "g": "10"}
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for number in range(count):
            picture = av.VideoFrame.from_ndarray(numbered(number, size), format="rgb24")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return file.getvalue()
