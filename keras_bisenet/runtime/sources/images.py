"""Image files: one, or those of a folder."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from pathlib import Path

from keras_bisenet.console import log
from keras_bisenet.errors import UsageError, UserError, listed
from keras_bisenet.imaging.bit_depth import CURE, range_of_images
from keras_bisenet.imaging.reading import IMAGE_SUFFIXES, read_image
from keras_bisenet.runtime.sources.base import Frame, Source, SourceOptions

SHOWN = 3
"""How many names a message lists."""


class Images(Source):
    """Image files, in order. A file that was asked for by its name raises when it is damaged;
    one of a folder is left out and told of in `failures`. Images of a folder are scaled alike."""

    def __init__(self, name: str, files: list[Path], *, kind: str, skipped: int = 0):
        super().__init__()
        self.name, self.kind = name, kind
        self.files = tuple(files)
        self.length = len(files)
        if skipped:
            self.notes.append(f"{name}: {skipped} other files skipped: they are no images")

    @functools.cached_property
    def white(self) -> float | None:
        """What is white in a folder's images, as in a data set; None for those of 8 bits, and for
        an image alone, whose own values tell."""
        found = range_of_images(self.files) if self.kind == "folder" else None
        if found and found.is_told:
            log.warning("%s: %s: %s", self.name, found, CURE)
        return found.white if found else None

    def __iter__(self) -> Iterator[Frame]:
        for number, path in enumerate(self.files):
            try:
                image = read_image(path, self.white)
            except UserError as error:
                if self.kind == "image":
                    raise
                self.failures.append(str(error))
            else:
                yield Frame(path.name, image, float(number), time.monotonic())


def open_source(name: str, options: SourceOptions) -> Images | None:
    path = Path(name)
    if not path.exists():
        return None
    if options.camera_size or options.fps or options.rotate:
        raise UsageError(f"{name}: --camera-size, --fps and --rotate are for cameras and videos")
    if not path.is_dir():
        return Images(name, [path], kind="image")
    there = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in there if entry.is_file()]
    folders = [entry.name for entry in there if entry.is_dir()]
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        known = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        cure = f": name one of the folders in it, {listed(folders, SHOWN)}" if folders else ""
        raise UserError(f"{path}: no image in this folder ({known}){cure}")
    if folders:
        plural = "1 folder" if len(folders) == 1 else f"{len(folders)} folders"
        log.warning(
            "%s: left out the %s in it, %s: name one for its images",
            path,
            plural,
            listed(folders, SHOWN),
        )
    return Images(str(path), images, kind="folder", skipped=len(files) - len(images))
