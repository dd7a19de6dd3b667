"""What every data set is in memory: a label map, and splits of image and mask files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_bisenet.data.masks import read_colours, read_mask
from keras_bisenet.data.problems import Problem, SampleError
from keras_bisenet.errors import UsageError, UserError, listed
from keras_bisenet.imaging.reading import EXIF_SUFFIXES, exif_orientation, image_size, read_image
from keras_bisenet.label_map import (
    VOID,
    ColourMap,
    LabelMap,
    UnknownColourError,
    UnknownIdError,
)

ASPECT_TOLERANCE = 0.03
"""A mask of another size than its image is resized if the aspect ratios differ by no more."""

NEAR_COLOUR = 16
"""Colours that are off by no more were changed by a program, and are no other classes."""


@dataclass(frozen=True)
class Sample:
    """One image and the mask that labels its pixels."""

    image: Path
    mask: Path


class Pair(NamedTuple):
    """A sample that was read.

    Attributes:
        image: uint8 `[height, width, 3]`.
        class_ids: uint8 `[height, width]`, with `VOID` for what is ignored.
        warnings: What had to be done to the files to read them.
    """

    image: np.ndarray
    class_ids: np.ndarray
    warnings: tuple[Problem, ...]


@dataclass(frozen=True)
class Dataset:
    """A data set on disk. It can be pickled, and several threads may read it at a time.

    Args:
        name: The name it was asked for by.
        label_map: What its masks' ids mean.
        splits: Samples by split name, in a fixed order.
        colours: What its masks' colours mean, where they hold colours rather than ids.
        read_ids: Reads a mask file of ids as uint8 `[height, width]`.
        soft_edges: Whether the masks are black and white with grey edges: each pixel then has the
            nearer of the two.
        unknown_cure: What to do where a mask holds what is not declared.
        image_range: What is white in images of more than 8 bits; None where each file tells.
    """

    name: str
    label_map: LabelMap
    splits: dict[str, tuple[Sample, ...]]
    colours: ColourMap | None = None
    read_ids: Callable[[Path], np.ndarray] = read_mask
    soft_edges: bool = False
    unknown_cure: str = "relabel them, or set them to void"
    image_range: float | None = None

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of a split.

        Raises:
            UsageError: When the data set has no such split.
        """
        if name not in self.splits:
            known = ", ".join(self.splits)
            raise UsageError(f"{self.name} has no split {name!r}: choose one of {known}")
        return self.splits[name]

    def without(self, split: str, images: Collection[Path]) -> Dataset:
        """The data set without some images of a split."""
        kept = tuple(sample for sample in self.split(split) if sample.image not in images)
        return dataclasses.replace(self, splits={**self.splits, split: kept})

    def require_labels(self, split: str) -> None:
        """Refuses a split without one labelled pixel, on which nothing can be learnt or measured.

        Masks are read until one has a label, which is the first as a rule.

        Raises:
            UserError: When all its masks are void (the ignore label) all over, or one is bad.
            UsageError: When the data set has no such split.
        """
        samples = self.split(split)
        for sample in samples:
            if (self.read(sample)[1] != VOID).any():
                return
        raise UserError(
            f"{samples[0].mask.parent if samples else self.name}: every mask of {split} is void "
            "all over, so that there is no pixel to count: label them, or use another split"
        )

    def require_readable(self, split: str, progress: Callable[[int], None] | None = None) -> None:
        """Reads a whole split, so that a bad file shows before training rather than when it is
        validated.

        Args:
            split: Its name.
            progress: Called with 1 after each sample.

        Raises:
            SampleError: As `read_pair`, of the first bad one.
            UsageError: When the data set has no such split.
        """
        # Pillow decodes without Python's global lock.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for _ in threads.map(lambda sample: self.read(sample) and None, self.split(split)):
                if progress:
                    progress(1)

    def read(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """Reads one sample.

        Returns:
            The image, uint8 `[height, width, 3]`, and its class ids with `VOID` for what is
            ignored, uint8 `[height, width]`.

        Raises:
            SampleError: As `read_pair`.
        """
        pair = self.read_pair(sample)
        return pair.image, pair.class_ids

    def read_pair(self, sample: Sample) -> Pair:
        """Reads one sample, and says what had to be done to it.

        The only warnings are `mask-resized`, for a mask of another size than its image's and the
        same aspect, `mask-thresholded`, for grey edges between black and white, and
        `turned-image`, for an image that its EXIF data turn over and a mask that has none.

        Raises:
            SampleError: A `UserError` with the problem: `unreadable-image`, `unreadable-mask`,
                `jpeg-mask`, `colour-mask`, `unknown-ids`, `unknown-colours` or `size-mismatch`.
        """
        try:
            image = self.read_image(sample)
        except UserError as error:
            raise SampleError(_unreadable_image(sample, error)) from error
        warnings = []
        class_ids = self._class_ids(sample, self.read_raw(sample), warnings)
        if image.shape[:2] != class_ids.shape:
            class_ids = _resized(sample, class_ids, image.shape[:2], warnings)
        warnings += _turned(sample, image.shape[:2])
        return Pair(image, class_ids, tuple(warnings))

    def read_image(self, sample: Sample) -> np.ndarray:
        """The image of one sample: uint8 `[height, width, 3]`.

        Raises:
            UserError: When it cannot be read.
        """
        return read_image(sample.image, self.image_range)

    def image_size(self, sample: Sample) -> tuple[int, int]:
        """`(height, width)` of the image of one sample, from the file's header alone.

        Raises:
            UserError: When it cannot be read.
        """
        return image_size(sample.image)

    def read_raw(self, sample: Sample) -> np.ndarray:
        """What a mask file holds before the label map.

        Returns:
            uint8 ids `[height, width]`, or colours `[height, width, 3]` where the data set has
            masks of colours.

        Raises:
            SampleError: When the mask cannot be read, or holds colours in place of ids.
        """
        return read_colours(sample.mask) if self.colours else self.read_ids(sample.mask)

    def _class_ids(self, sample: Sample, raw: np.ndarray, warnings: list[Problem]) -> np.ndarray:
        try:
            if self.colours:
                return self.colours.to_class_ids(raw)
            if self.soft_edges:
                raw = _thresholded(sample, raw, warnings)
            return self.label_map.class_ids(raw)
        except UnknownIdError as error:
            raise SampleError(self._unknown_ids(sample, error.ids), error.ids) from error
        except UnknownColourError as error:
            raise SampleError(self._unknown_colours(sample, error), error.colours) from error

    def _unknown_ids(self, sample: Sample, ids: list[int]) -> Problem:
        labels = self.label_map
        return Problem(
            "unknown-ids",
            "error",
            f"the mask holds ids {listed(ids)}, which are none of the {labels.num_classes} classes "
            f"of {self.name} (ids {listed(labels.file_ids)}; void {listed(labels.ignored_ids)})",
            (sample.mask,),
            self.unknown_cure,
        )

    def _unknown_colours(self, sample: Sample, error: UnknownColourError) -> Problem:
        off = _distance(error.colours, self.colours.colours)
        near = off <= NEAR_COLOUR and len(error.colours) > 2
        return Problem(
            "unknown-colours",
            "error",
            f"the mask holds colours that stand for no class of {self.name}: "
            f"{listed(error.colours, 4)}"
            + (f" (off by {off} at most from a class' colour)" if near else ""),
            (sample.mask,),
            "it was a JPEG once, or was resized smoothly: export it again as PNG, and resize masks "
            "with nearest neighbour alone"
            if near
            else self.unknown_cure,
        )


def _distance(colours: Sequence, known: Sequence) -> int:
    """By how much a channel of `colours` differs from the nearest of the known ones, at most."""
    values, known = np.array(colours[:4096], int), np.array(known, int)
    return int(np.abs(values[:, None] - known[None]).max(axis=2).min(axis=1).max())


def _unreadable_image(sample: Sample, error: UserError) -> Problem:
    message, _, cure = str(error).removeprefix(f"{sample.image}: ").rpartition(": ")
    if not message:
        message, cure = cure, "save it as PNG or JPEG"
    return Problem("unreadable-image", "error", message, (sample.image,), cure)


def _resized(sample: Sample, class_ids: np.ndarray, size, warnings: list[Problem]) -> np.ndarray:
    """The mask at its image's size, if the aspect is the same."""
    message = f"the mask is {_size(class_ids.shape)}, its image {_size(size)}"
    files = (sample.mask, sample.image)
    if not _same_aspect(class_ids.shape, size):
        cure = "make them the same size"
        if _same_aspect(class_ids.shape, size[::-1]):
            cure = "turn the mask, or the image with its EXIF orientation, upright"
        raise SampleError(Problem("size-mismatch", "error", message, files[:1], cure))
    warnings.append(
        Problem("mask-resized", "warning", message, files, "the mask is resized to its image")
    )
    # Nearest neighbour: between two ids lies no third.
    resized = Image.fromarray(class_ids).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.array(resized)


def _turned(sample: Sample, size: Sequence[int]) -> list[Problem]:
    """What to know of an image that EXIF data turn, where sizes do not tell if its mask was."""
    if sample.image.suffix.lower() not in EXIF_SUFFIXES:
        return []
    orientation = exif_orientation(sample.image)
    keeps_size = orientation in (2, 3, 4) or (orientation > 4 and size[0] == size[1])
    if not keeps_size or exif_orientation(sample.mask) != 1:
        return []
    return [
        Problem(
            "turned-image",
            "warning",
            f"the image's EXIF orientation ({orientation}) turns it, and its mask has none",
            (sample.image, sample.mask),
            "look whether they fit (keras-bisenet dataset show); save the image upright if not",
        )
    ]


def _same_aspect(a: Sequence[int], b: Sequence[int]) -> bool:
    ratio = (a[1] / a[0]) / (b[1] / b[0])
    return max(ratio, 1 / ratio) <= 1 + ASPECT_TOLERANCE


def _thresholded(sample: Sample, raw: np.ndarray, warnings: list[Problem]) -> np.ndarray:
    """0 and 255 for every value, whichever is nearer."""
    soft = np.count_nonzero((raw > 0) & (raw < 255))
    if not soft:
        return raw
    warnings.append(
        Problem(
            "mask-thresholded",
            "warning",
            f"{soft / raw.size:.2%} of the mask's pixels lie between 0 and 255",
            (sample.mask,),
            "they are taken for the nearer of the two",
        )
    )
    return np.where(raw < 128, 0, 255).astype(np.uint8)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]}x{shape[1]}"
