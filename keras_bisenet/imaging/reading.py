"""Reading image files."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from keras_bisenet.console import log
from keras_bisenet.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")

EXIF_SUFFIXES = (".jpg", ".jpeg", ".tif", ".tiff", ".webp")
"""Files that cameras and phones write an orientation into."""

BIT_DEPTHS = (8, 10, 12, 14, 16)
"""What cameras have, and write into files of 16 bits."""

DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error),
    *(TypeError, KeyError, IndexError, ArithmeticError, AttributeError, RuntimeError),
)
"""What Pillow raises for damaged files."""

_OTHER_BYTE = {"B": "L", "L": "B", "N": "L" if sys.byteorder == "big" else "B"}


def read_image(path: str | os.PathLike, white: float | None = None) -> np.ndarray:
    """An image file as RGB uint8 [h, w, 3], turned upright as its EXIF data asks.

    Any mode is converted: grey, palette, CMYK, floating point, 16 bits per channel; transparency
    is dropped.

    Args:
        path: The file.
        white: The value that becomes 255 in images of more than 8 bits per channel. Defaults to
            what the file says, or to the smallest range that holds its values: see `range_of`.
            That is a guess, of which the first is told: a brighter file may be scaled otherwise.

    Raises:
        UserError: When the file cannot be read, is no image, is damaged, or holds several images.
    """
    with _opened(path) as opened:
        count = pictures_in(opened)
        if count > 1:
            raise UserError(
                f"{path}: a file of {count} pictures (pages, or an animation): save each as a file "
                "of its own"
            )
        deep = _deep_values(opened)
        if deep is None:
            return np.array(ImageOps.exif_transpose(opened).convert("RGB"))
        values, stated = deep
        _check_values(values)
        if white is None:
            largest = values.max(initial=0)
            white = stated or range_of(largest)
            if not stated:
                _tell_guess(path, largest, white)
        scaled = np.clip(values * (255 / white) + 0.5, 0, 255).astype(np.uint8)
        return scaled if scaled.ndim == 3 else np.repeat(scaled[..., None], 3, axis=2)


def _tell_guess(path: str | os.PathLike, largest: float, white: float) -> None:
    """Warns, once for each range, of one that is neither 8 bits nor all that a file can hold."""
    if white in (1, 255, 65535) or white in _told:
        return
    _told.add(white)
    log.warning(
        "%s: its values reach %g, so %g is taken for white, image by image where files do not say: "
        "save them with 8 bits per channel if that is not meant",
        path,
        largest,
        white,
    )


_told: set[float] = set()


def pictures_in(image: Any) -> int:
    """How many images an opened file holds: pages of a TIFF, frames of an animation.

    What cameras put beside a photograph (MPO), and smaller previews, do not count.
    """
    try:
        count = getattr(image, "n_frames", 1)
        if count == 1 or image.format == "MPO":
            return 1
        size = image.size
        image.seek(1)
        is_preview = image.size != size
    except DECODER_ERRORS:  # what follows the first one is no image
        count, is_preview = 1, True
    image.seek(0)
    return 1 if is_preview else count


def exif_orientation(path: str | os.PathLike) -> int:
    """How an image has to be turned: 1 is upright, 3 is upside down.

    Raises:
        UserError: As `read_image`.
    """
    with _opened(path) as opened:
        orientation = opened.getexif().get(0x0112, 1)
    return orientation if orientation in range(1, 9) else 1


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """`(height, width)` of what `read_image` returns, from the file's header alone.

    Raises:
        UserError: When the file cannot be read, or is no image.
    """
    with _opened(path) as opened:
        width, height = opened.size
        # From 5 on, what is stored as rows is seen as columns.
        is_on_its_side = opened.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return (width, height) if is_on_its_side else (height, width)


def largest_value(path: str | os.PathLike) -> float | None:
    """What is white in an image of more than 8 bits per channel, or the largest of its values
    where the file does not say; None for an image of 8 bits.

    Raises:
        UserError: As `read_image`.
    """
    with _opened(path) as opened:
        deep = _deep_values(opened)
        return None if deep is None else deep[1] or deep[0].max(initial=0).item()


class _RangeError(ValueError):
    """Values that are no image's."""


def range_of(largest: float) -> float:
    """What is white where the largest value is this: 1 for floating point numbers up to there,
    else the largest number of 8, 10, 12, 14 or 16 bits.

    Raises:
        ValueError: When it cannot be told.
    """
    if isinstance(largest, (float, np.floating)):
        if largest <= 1.5:  # a smooth resize goes beyond 1
            return 1.0
        if largest < 64:
            raise _RangeError(f"values up to {largest:g}, and what is white cannot be told")
    for bits in BIT_DEPTHS:
        if largest < 1 << bits:
            return float((1 << bits) - 1)
    raise _RangeError(f"values up to {largest:g}, and what is white cannot be told")


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    """The opened image; what goes wrong with it is told as a `UserError`."""
    try:
        with warnings.catch_warnings():
            # Of large images, and of transparency that is dropped here on purpose.
            warnings.simplefilter("ignore")
            with Image.open(path) as opened:
                yield opened
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise UserError(f"{path}: {error.strerror}: name an image that can be read") from error
    except Image.UnidentifiedImageError as error:
        if isinstance(path, (str, os.PathLike)) and not os.path.getsize(path):
            raise UserError(f"{path}: an empty file (0 bytes): copy it again") from error
        known = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        raise UserError(f"{path}: no image in a format known here ({known})") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: too large an image: scale it down first") from error
    except _RangeError as error:
        raise UserError(f"{path}: {error}: save it with 8 bits per channel") from error
    except DECODER_ERRORS as error:
        raise UserError(f"{path}: a damaged image ({error}): copy it again") from error


def _deep_values(image: Any) -> tuple[np.ndarray, float | None] | None:
    """The values of an image of more than 8 bits per channel, upright, and what is white by the
    file's own account; None for one of 8 bits."""
    stated = _stated_white(image)
    if image.mode[0] in "IF":
        return np.asarray(ImageOps.exif_transpose(image)), stated
    raw = raw_mode(image)
    if image.mode not in ("RGB", "RGBA") or raw not in {f"{image.mode};16{e}" for e in "BLN"}:
        return None
    # Pillow keeps the upper byte of each value. Told the other order of bytes, it keeps the lower.
    with Image.open(image.filename or image.fp) as opened:
        again: Any = opened
        again.tile = [_with_raw_mode(tile, raw[:-1] + _OTHER_BYTE[raw[-1]]) for tile in again.tile]
        lower = np.asarray(ImageOps.exif_transpose(again))
    upper = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)
    return (upper << 8 | lower)[..., :3], stated


def _stated_white(image: Any) -> float | None:
    """TIFF's MaxSampleValue."""
    value = image.tag_v2.get(281) if hasattr(image, "tag_v2") else None
    value = value[0] if isinstance(value, tuple) and value else value
    return float(value) if isinstance(value, (int, float)) and value >= 255 else None


def raw_mode(image: Any) -> str | None:
    """How the pixels of an opened file are packed, by Pillow's name, such as `RGB;16B`."""
    arguments: Any = image.tile[0][3] if image.tile else None
    return arguments[0] if isinstance(arguments, tuple) and arguments else arguments


def _with_raw_mode(tile, raw: str):
    codec, extents, offset, arguments = tile
    arguments = (raw, *arguments[1:]) if isinstance(arguments, tuple) else raw
    # Pillow 11 has named tuples here.
    return type(tile)(codec, extents, offset, arguments) if hasattr(tile, "_fields") else (
        codec, extents, offset, arguments
    )  # fmt: skip


def _check_values(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise _RangeError("values that are no numbers")
    if values.min(initial=0) < -0.1:
        raise _RangeError(f"values down to {values.min():g}")
