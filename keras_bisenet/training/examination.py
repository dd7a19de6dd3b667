"""Scoring a model image by image: the split's scores, and the images it is best and worst at."""

from __future__ import annotations

import bisect
import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from keras_bisenet.data.dataset import Dataset
from keras_bisenet.imaging.drawing import overlay
from keras_bisenet.label_map import VOID, LabelMap
from keras_bisenet.training.metrics import Scores, confusion_matrix

PICTURE_WIDTH = 480
"""Wider pictures are shrunk to this many pixels."""

ERROR_COLOUR = (235, 40, 60)


@dataclass(frozen=True)
class ImageResult:
    """How a model did on one image.

    Args:
        name: The image's file name.
        scores: From this image's pixels alone.
        pictures: JPEG files by what they show: image, truth, prediction and errors.
    """

    name: str
    scores: Scores
    pictures: dict[str, bytes]


@dataclass(frozen=True)
class Examination:
    """How a model did on a split.

    Args:
        split: The split's name.
        num_images: int. How many images it has.
        scores: From all its pixels, in one confusion matrix.
        worst: The images of the lowest mIoU, the lowest first.
        best: The images of the highest mIoU, the highest first. No image is in both.
    """

    split: str
    num_images: int
    scores: Scores
    worst: tuple[ImageResult, ...]
    best: tuple[ImageResult, ...]


def examine(
    segment: Callable[[np.ndarray], np.ndarray],
    dataset: Dataset,
    split: str,
    num_shown: int,
    progress: Callable[..., None] | None = None,
) -> Examination:
    """Scores `segment` on a split, and draws the images that it is best and worst at.

    One pass; of the pictures no more than `2 * num_shown` are in memory at a time. An image of
    nothing but void counts among the best and worst as little as in the scores.

    Args:
        segment: From a uint8 image `[height, width, 3]` to uint8 class ids `[height, width]`.
        dataset: Where the images come from.
        split: The split's name.
        num_shown: How many of the best, and of the worst, to draw.
        progress: Called with 1 after each image.

    Raises:
        UsageError: When the data set has no such split.
    """
    labels = dataset.label_map
    samples = dataset.split(split)
    total = np.zeros((labels.num_classes, labels.num_classes), np.int64)
    extremes = Extremes(num_shown)
    for sample in samples:
        image, truth = dataset.read(sample)
        predicted = segment(image)
        scores = Scores(labels.names, confusion_matrix(truth, predicted, labels.num_classes))
        total += scores.confusion
        if extremes.takes(scores.miou):
            pictures = draw(image, truth, predicted, labels)
            extremes.add(scores.miou, ImageResult(sample.image.name, scores, pictures))
        if progress:
            progress(1)
    return Examination(
        split, len(samples), Scores(labels.names, total), extremes.lowest, extremes.highest
    )


class Extremes:
    """The `count` lowest and the `count` highest of a stream of values, and what goes with them."""

    def __init__(self, count: int):
        self._count = count
        self._values = []  # ascending, at most 2 * count
        self._items = []

    def takes(self, value: float) -> bool:
        """Whether `value` is among the lowest or the highest so far; NaN never is."""
        is_full = len(self._values) == 2 * self._count
        return not (math.isnan(value) or (is_full and self._place(value) == self._count))

    def add(self, value: float, item) -> None:
        """Takes in a value that `takes` accepts; what it pushes into the middle is dropped."""
        place = self._place(value)
        self._values.insert(place, value)
        self._items.insert(place, item)
        if len(self._values) > 2 * self._count:
            del self._values[self._count], self._items[self._count]

    @property
    def lowest(self) -> tuple:
        """The items of the lowest values, ascending; of few values the lower half."""
        return tuple(self._items[: -(-len(self._items) // 2)])

    @property
    def highest(self) -> tuple:
        """The items of the highest values, descending; of few values the upper half."""
        return tuple(reversed(self._items[-(-len(self._items) // 2) :]))

    def _place(self, value: float) -> int:
        return bisect.bisect(self._values, value)


def draw(
    image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, labels: LabelMap
) -> dict[str, bytes]:
    """The four pictures of an image, as JPEG files by what they show."""
    return {
        "image": _jpeg(image),
        "truth": _jpeg(overlay(image, truth, labels.palette, 0.6)),
        "prediction": _jpeg(overlay(image, predicted, labels.palette, 0.6)),
        "errors": _jpeg(error_picture(image, truth, predicted)),
    }


def error_picture(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The image in light grey, wrong pixels in red, void dark.

    Args:
        image: uint8 `[height, width, 3]`.
        truth: uint8 class ids `[height, width]`, `VOID` where no pixel counts.
        predicted: uint8 class ids `[height, width]`.

    Returns:
        uint8 `[height, width, 3]`.
    """
    grey = np.asarray(Image.fromarray(image).convert("L").convert("RGB")).astype(np.float32)
    is_void = truth == VOID
    is_wrong = ~is_void & (truth != predicted)
    # Lighter than any void, so that a dark image does not look like it.
    picture = 96 + 0.6 * grey
    picture[is_void] = 0.3 * grey[is_void]
    picture[is_wrong] = 0.3 * grey[is_wrong] + 0.7 * np.array(ERROR_COLOUR)
    return picture.round().astype(np.uint8)


def ranked_classes(scores: Scores) -> list[int]:
    """Ids of the classes that occur, by IoU, the highest first."""
    iou = scores.iou
    return [int(i) for i in np.argsort(-iou, kind="stable") if not np.isnan(iou[i])]


def largest_confusion(scores: Scores) -> tuple[str, str, float] | None:
    """The pair (true class, predicted class) with the most wrong pixels, and its share of all
    pixels; None where every pixel is right."""
    wrong = scores.confusion - np.diag(np.diag(scores.confusion))
    true, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
    if not wrong[true, predicted]:
        return None
    share = wrong[true, predicted] / scores.confusion.sum()
    return scores.names[true], scores.names[predicted], float(share)


def _jpeg(picture: np.ndarray) -> bytes:
    shrunk = Image.fromarray(picture)
    shrunk.thumbnail((PICTURE_WIDTH, shrunk.height), Image.LANCZOS)
    content = io.BytesIO()
    shrunk.save(content, "JPEG", quality=85, optimize=True)
    return content.getvalue()
