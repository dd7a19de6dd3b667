"""The range of a data set's images, where their files have more than 8 bits per channel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keras_bisenet.data.pairing import OnProblem
from keras_bisenet.data.problems import Problem
from keras_bisenet.imaging.bit_depth import CURE, range_of_images


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
    found = range_of_images(images)
    if found and found.is_told:
        on_problem(Problem("image-range", "warning", str(found), (directory,), CURE))
    return found.white if found else None
