"""The range of a data set's images, where their files have more than 8 bits per channel.

A camera of 12 bits writes files of 16, which do not say so. The brightest of some of the images
tells, and all are scaled alike, so that a dark image stays a dark one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keras_bisenet.data.pairing import OnProblem
from keras_bisenet.data.problems import Problem
from keras_bisenet.errors import UserError
from keras_bisenet.imaging.reading import largest_value, range_of

SAMPLED = 32


def find_image_range(
    images: Sequence[Path], directory: Path, on_problem: OnProblem
) -> float | None:
    """What is white in the images: None for those of 8 bits.

    Args:
        images: All image files.
        directory: The data set.
        on_problem: Told of `image-range`, a warning, where the range is not all that the files
            could hold.
    """
    step = max(1, len(images) // SAMPLED)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        values = [value for value in threads.map(_largest, images[::step]) if value is not None]
    if not values:
        return None
    try:
        white = range_of(max(values))
    except ValueError:
        return None  # is told of the image that has it
    if white not in (255, 65535):
        on_problem(
            Problem(
                "image-range",
                "warning",
                f"the images' values reach {max(values):g}, so {white:g} is taken for white",
                (directory,),
                "save them with 8 bits per channel if that is not meant",
            )
        )
    return white


def _largest(path: Path) -> float | None:
    try:
        return largest_value(path)
    except UserError:
        return None  # is told when it is read
