"""The range of images that belong together, where their files have more than 8 bits per channel.

A camera of 12 bits writes files of 16, which do not say so. The brightest of some of the images
tells, and all are scaled alike, so that a dark image stays a dark one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from keras_bisenet.errors import UserError
from keras_bisenet.imaging.reading import largest_value, range_of

SAMPLED = 32
CURE = "save them with 8 bits per channel if that is not meant"


@dataclass(frozen=True)
class ImageRange:
    """What images hold.

    Attributes:
        largest: The largest of their values, or what their files say is white.
        white: What is taken for white.
    """

    largest: float
    white: float

    @property
    def is_told(self) -> bool:
        """Whether it is neither 8 bits nor all that a file can hold, which a user should know."""
        return self.white not in (255, 65535)

    def __str__(self) -> str:
        return f"the images' values reach {self.largest:g}, so {self.white:g} is taken for white"


def range_of_images(images: Sequence[Path]) -> ImageRange | None:
    """The one range of images, by some of them; None for those of 8 bits, which are not decoded,
    and where it cannot be told."""
    step = max(1, len(images) // SAMPLED)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        values = [value for value in threads.map(_largest, images[::step]) if value is not None]
    if not values:
        return None
    try:
        return ImageRange(max(values), range_of(max(values)))
    except ValueError:
        return None  # is told of the image that has it


def _largest(path: Path) -> float | None:
    try:
        return largest_value(path)
    except UserError:
        return None  # is told when it is read
