"""Reading mask files."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image

from keras_bisenet.errors import UserError


def read_mask(path) -> np.ndarray:
    """Reads a mask of ids as uint8 `[height, width]`; a palette image gives its indices.

    Raises:
        UserError: When the file is missing, damaged, or holds colours rather than ids.
    """
    try:
        with Image.open(path) as image:
            mask = np.array(image)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such mask") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        # All of these come from Pillow's decoders.
        raise UserError(f"{path}: a damaged mask ({error}): copy it again") from error
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise UserError(
            f"{path}: a mask has one 8-bit channel of class ids, this file is "
            f"{'x'.join(str(side) for side in mask.shape)} {mask.dtype}: save ids, not colours"
        )
    return mask
