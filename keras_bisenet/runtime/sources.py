"""Where images come from: a file, a folder, a video or a camera.

All of them yield RGB uint8 [h, w, 3] images with a name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_bisenet.errors import UserError
from keras_bisenet.imaging.reading import IMAGE_SUFFIXES, read_image

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg")


class Frame(NamedTuple):
    """An image, RGB uint8 [h, w, 3], and its file's name (or `frame_000001`)."""

    name: str
    image: np.ndarray


class Images:
    """Image files, in order.

    Attributes:
        paths: The files.
        skipped: How many other files the folder holds.
        unreadable: What is wrong with the files that could not be read, a line per file, as
            far as the iteration has come. A file that was asked for by its name raises instead.
    """

    def __init__(self, paths: list[Path], *, folder: Path | None = None, skipped: int = 0):
        self.paths = paths
        self.folder = folder
        self.skipped = skipped
        self.unreadable: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        for path in self.paths:
            try:
                image = read_image(path)
            except UserError as error:
                if self.folder is None:
                    raise
                self.unreadable.append(str(error))
            else:
                yield Frame(path.name, image)


class Video:
    """The frames of a video file, a stream or a camera, through OpenCV.

    Attributes:
        name: The file, the address, or the camera's number.
        live: Whether it goes on until it is stopped.
        fps: Frames per second; 30 where the source does not say.
        length: How many frames there are, by the file's own account; None where it gives none.
    """

    def __init__(self, name: str, *, live: bool):
        cv2 = opencv()
        self.name = name
        self.live = live
        self._capture = cv2.VideoCapture(int(name) if name.isdigit() else name)
        self._to_rgb = lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        if not self._capture.isOpened():
            if live:
                raise UserError(f"{name}: no camera or stream answers: see that it is on and free")
            raise UserError(f"{name}: OpenCV cannot read this video: convert it to .mp4 (H.264)")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= 1000 else 30.0
        length = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.length = None if live or length <= 0 else length

    def __iter__(self) -> Iterator[Frame]:
        number = 0
        try:
            while True:
                more, image = self._capture.read()
                if not more:
                    break
                number += 1
                yield Frame(f"frame_{number:06d}", self._to_rgb(image))
        finally:
            self._capture.release()
        if number == 0:
            raise UserError(f"{self.name}: no frame could be read from it")


def open_source(source: str) -> Images | Video:
    """Opens whatever `source` names.

    Args:
        source: An image file, a folder (its images, not those of folders in it), a video file,
            the address of a stream (`rtsp://...`), or a camera (`0`, `/dev/video0`).

    Raises:
        UserError: When there is no such thing, a folder holds no image, or OpenCV is needed and
            not installed.
    """
    path = Path(source)
    if path.is_dir():
        return _folder(path)
    if re.fullmatch(r"/dev/video\d+", source) or "://" in source:
        return Video(source, live=True)
    if source.isdigit() and not path.exists():
        return Video(source, live=True)
    if not path.exists():
        raise UserError(f"{source}: there is no such image, folder, video or camera")
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return Video(source, live=False)
    return Images([path])


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
        raise UserError(
            "videos and cameras need OpenCV: pip install 'keras-bisenet[video]'"
        ) from error
    return cv2


def _folder(folder: Path) -> Images:
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    paths = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        known = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        raise UserError(f"{folder}: no image in this folder ({known})")
    return Images(paths, folder=folder, skipped=len(files) - len(paths))
