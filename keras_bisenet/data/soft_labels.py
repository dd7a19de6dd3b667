"""Soft labels: for every pixel of an image, the share of each class, as a teacher sees it.

A folder has one file an image, named as the image is (`street_07.jpg`: `street_07.png`, or else
`street_07.npz`). Images that share a name, as `train/a.png` and `val/a.png`, or `a.jpg` and
`a.png`, have files named by their path below the folder of all (`train/a.png.npz`). Any program
can write them:

- NPZ: the array `p`, or the only array: `[h, w, N]`, numbers that are not negative, in the order of
  the data set's classes. Each pixel's are divided by their sum.
- PNG, 8 or 16 bits of grey: the same N planes of h rows, one below the other.

`h` and `w` need not be the image's, only its proportions: a half or a quarter is enough. A pixel
whose shares are all 0 has no label. The same image without a file is a mistake, told before work.
"""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from keras_bisenet.data.dataset import ASPECT_TOLERANCE, Sample
from keras_bisenet.errors import UserError
from keras_bisenet.files import NPZ_ERRORS, replacing
from keras_bisenet.imaging.reading import DECODER_ERRORS, IMAGE_SUFFIXES, image_size

ARRAY = "p"
CURE = "write it again as docs/training.md says"


@dataclass(frozen=True)
class SoftLabels:
    """The soft labels in a folder.

    Args:
        directory: The folder.
        num_classes: int. How many classes they must tell apart.
        names: What the files of images are named that share a stem with another: see `of`.
    """

    directory: Path
    num_classes: int
    names: Mapping[Path, str] = field(default_factory=dict)

    @classmethod
    def of(cls, images: Iterable[Path], directory: Path, num_classes: int) -> SoftLabels:
        """Those of a set of images, of which no two have one file."""
        images = list(dict.fromkeys(images))
        count = Counter(image.stem for image in images)
        shared = [image for image in images if count[image.stem] > 1]
        folders = [os.path.abspath(image.parent) for image in images] if shared else [""]
        root = os.path.commonpath(folders)
        names = {image: Path(os.path.relpath(image, root)).as_posix() for image in shared}
        return cls(directory, num_classes, names)

    def path(self, image: Path) -> Path:
        """The file of an image, whether it is there or not."""
        png = self._path(image, ".png")
        return png if png.is_file() else self._path(image, ".npz")

    def _path(self, image: Path, suffix: str) -> Path:
        return self.directory / f"{self.names.get(image, image.stem)}{suffix}"

    def check(
        self,
        images: Iterable[Path],
        sizes: Iterable[tuple[int, int]] | None = None,
    ) -> None:
        """Looks at the sizes of all files, without reading what is in them.

        Args:
            images: The images.
            sizes: Their `(height, width)`, where they are no files.

        Raises:
            UserError: When an image has no file, or one of another size or number of classes.
        """
        images = list(images)
        missing = [image for image in images if not self.path(image).is_file()]
        if missing:
            others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(
                f"{self.path(missing[0])}: no such soft labels, of {missing[0].name}{others}: "
                "write a file for each image, or take another folder"
            )
        for image, size in zip(images, sizes or map(image_size, images)):
            with _named(self.path(image)):
                self._check_shape(size, _shape(self.path(image), self.num_classes))

    def read(self, image: Path, size: tuple[int, int] | None = None) -> np.ndarray:
        """The shares of an image's pixels.

        Args:
            image: The image.
            size: Its `(height, width)`, where it is known.

        Returns:
            uint8 `[h, w, num_classes]`, in parts of any whole.

        Raises:
            UserError: As `check`, and when the file is damaged.
        """
        path = self.path(image)
        with _named(path):
            if path.suffix == ".png":
                with Image.open(path) as file:
                    planes = np.asarray(file)
                shares = planes.reshape(self.num_classes, -1, planes.shape[1]).transpose(1, 2, 0)
            else:
                # Opened here, since NumPy leaves a damaged file open.
                with path.open("rb") as file, np.load(file) as arrays:
                    shares = arrays[_array_name(arrays.files)]
            self._check_shape(size or image_size(image), shares.shape)
            return in_bytes(shares)

    def write(self, image: Path, shares: np.ndarray) -> None:
        """Writes an image's file, whole or not at all; `shares` as `read` returns them."""
        with replacing(self._path(image, ".npz")) as temporary:
            np.savez_compressed(temporary, **{ARRAY: shares})

    def _check_shape(self, size: tuple[int, int], shape: Sequence[int]) -> None:
        if len(shape) != 3 or shape[2] != self.num_classes:
            raise ValueError(f"{'x'.join(map(str, shape))} is not h x w x {self.num_classes}")
        height, width = size
        ratio = (shape[0] / shape[1]) / (height / width)
        if max(ratio, 1 / ratio) > 1 + ASPECT_TOLERANCE:
            raise ValueError(f"{shape[0]}x{shape[1]} is no size of an image of {height}x{width}")


def in_bytes(shares: np.ndarray) -> np.ndarray:
    """Shares as uint8: those of another type in parts of 255, each pixel's divided by their sum.

    Raises:
        ValueError: When a share is negative or no number.
    """
    if shares.dtype == np.uint8:
        return shares
    shares = shares.astype(np.float32)
    if not np.isfinite(shares).all() or shares.min(initial=0) < 0:
        raise ValueError("a share is negative, or no number")
    total = shares.sum(axis=-1, keepdims=True)
    return np.round(255 * shares / np.where(total > 0, total, 1)).astype(np.uint8)


def unlabelled_images(directory: Path) -> tuple[Sample, ...]:
    """The images in a folder, or in its folder `images`, in the order of their names. Those of
    folders in it are left out, and `left_out` names these.

    Raises:
        UserError: When there are none.
    """
    folder = _image_folder(directory)
    if not folder.is_dir():
        raise UserError(f"{directory}: there is no such folder")
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and path.name[0] != "."
    )
    if not found:
        raise UserError(f"{folder}: no images here ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return tuple(Sample(path, path) for path in found)


def left_out(directory: Path) -> list[str]:
    """The folders beside the images of `unlabelled_images` that are not their soft labels'."""
    entries = sorted(_image_folder(directory).iterdir())
    return [e.name for e in entries if e.is_dir() and e.name[0] != "." and e.name != "soft"]


def _image_folder(directory: Path) -> Path:
    return directory / "images" if (directory / "images").is_dir() else directory


def _array_name(names: Sequence[str]) -> str:
    if ARRAY not in names and len(names) != 1:
        raise ValueError(f"it has no array {ARRAY!r}")
    return ARRAY if ARRAY in names else names[0]


def _shape(path: Path, num_classes: int) -> tuple[int, ...]:
    """The shape of a file's shares, from its header alone."""
    if path.suffix == ".png":
        with Image.open(path) as file:
            (width, height), mode = file.size, file.mode
        if height % num_classes or mode not in ("L", "I;16", "I"):
            raise ValueError(f"{height} rows of {mode} are not {num_classes} planes of grey")
        return height // num_classes, width, num_classes
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        with archive.open(f"{_array_name(names)}.npy") as file:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            return read_header(file)[0]


class _named:
    """Turns what is wrong with a file into one line that names it."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, (*DECODER_ERRORS, *NPZ_ERRORS)):
            reason = " ".join(str(error).split())
            raise UserError(f"{self.path}: no soft labels ({reason}): {CURE}") from error
