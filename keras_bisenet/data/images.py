"""Reading image and mask files."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from keras_bisenet.errors import UserError


def read_image(path) -> np.ndarray:
    """Reads an image as uint8 RGB `[height, width, 3]`, turned as its EXIF tag says.

    Raises:
        UserError: When the file is missing, damaged, or no image.
    """
    return np.asarray(_open(path, lambda image: ImageOps.exif_transpose(image).convert("RGB")))


def read_mask(path) -> np.ndarray:
    """Reads a mask of ids as uint8 `[height, width]`; a palette image gives its indices.

    Raises:
        UserError: When the file is missing, damaged, or holds colours rather than ids.
    """
    mask = np.asarray(_open(path, lambda image: image.copy()))
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise UserError(
            f"{path}: a mask has one 8-bit channel of class ids, this file is "
            f"{'x'.join(str(side) for side in mask.shape)} {mask.dtype}: save ids, not colours"
        )
    return mask


def _open(path, decode):
    try:
        with Image.open(path) as image:
            return decode(image)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        # Pillow raises all of these for files that are cut off or garbled.
        raise UserError(f"{path}: damaged, or no image ({error}): replace the file") from error
