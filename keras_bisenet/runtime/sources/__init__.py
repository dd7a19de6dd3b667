"""Where frames come from: one module for each kind of source, all of them in `SOURCES`.

A module of a source has `open_source(name, options)`, which returns a `Source`, or None where
`name` names something else. RGB throughout.
"""

from __future__ import annotations

import importlib
import os

from keras_bisenet.errors import UserError
from keras_bisenet.runtime.sources.base import Frame, Source, SourceOptions

SOURCES = (  # asked in this order
    "pi",  # `pi`, `pi:1`: the Raspberry Pi's own cameras
    "opencv",  # `0`, `/dev/video0`: cameras of the system
    "av",  # video files and streams by address, through PyAV, or OpenCV in its place
    "images",  # an image file, a folder of them
)


def open_source(name: str | os.PathLike, options: SourceOptions | None = None) -> Source:
    """Opens whatever `name` names.

    Args:
        name: An image file, a folder (its images, not those of folders in it), a video file,
            a stream's address (`rtsp://...`, `http://...`), or a camera (`pi`, `0`,
            `/dev/video0`).
        options: What to ask of a camera or a video.

    Raises:
        UserError: When there is no such thing, it cannot be read, or what reads it is not
            installed.
    """
    for module in SOURCES:
        opener = importlib.import_module(f"{__name__}.{module}").open_source
        source = opener(os.fspath(name), options or SourceOptions())
        if source is not None:
            return source
    raise UserError(f"{name}: there is no such image, folder, video or camera")


__all__ = ["SOURCES", "Frame", "Source", "SourceOptions", "open_source"]
