"""Reading image files."""

from __future__ import annotations

import os
import struct
import warnings
import zlib

import numpy as np
from PIL import Image, ImageOps

from keras_bisenet.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def read_image(path: str | os.PathLike) -> np.ndarray:
    """An image file as RGB uint8 [h, w, 3], turned upright as its EXIF data asks.

    Any mode is converted: grey, palette, CMYK, 16 bits per channel; transparency is dropped.

    Raises:
        UserError: When the file cannot be read, is no image, or is damaged.
    """
    try:
        with warnings.catch_warnings():
            # Of large images, and of transparency that is dropped here on purpose.
            warnings.simplefilter("ignore")
            with Image.open(path) as opened:
                image = ImageOps.exif_transpose(opened)
                if image.mode.startswith("I"):  # Pillow would clip 16 bits, not scale them
                    grey = np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8)
                    image = Image.fromarray(grey)
                return np.array(image.convert("RGB"))
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise UserError(f"{path}: {error.strerror}: name an image that can be read") from error
    except Image.UnidentifiedImageError as error:
        known = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        raise UserError(f"{path}: no image in a format known here ({known})") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: too large an image: scale it down first") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        # All of these come from Pillow's decoders.
        raise UserError(f"{path}: a damaged image ({error}): copy it again") from error
