"""What to train a checked data set with."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_bisenet.class_weights import class_weights
from keras_bisenet.data.check.issue import Issue
from keras_bisenet.data.check.split_statistics import SplitStatistics
from keras_bisenet.data.dataset import Dataset
from keras_bisenet.label_map import VOID

STRIDE = 32  # the network's sides are multiples of it

LARGEST_CROP = 512 * 1024
"""Pixels of the largest crop that is suggested: the paper's for Cityscapes (Section 5.1)."""

BALANCED = 4
"""Classes whose shares of the pixels differ by no more than this factor need no weights."""

MOST_COLOURS = 64
"""More unknown colours than these are no classes."""

RARE = 1e-4
"""Unknown ids of a smaller share of the pixels of the masks that hold them are no classes."""


@dataclass(frozen=True)
class Suggestions:
    """What to train with.

    Args:
        size: `(height, width)` of the crops; None where no image can be read.
        class_weights: A weight per class, of the kind `sqrt`; None where classes are as frequent
            as each other.
        classes: Text of a `classes.yaml`: the classes, and the ids or colours found beside them.
        classes_differ: Whether that file says more than is declared.
    """

    size: tuple[int, int] | None
    class_weights: tuple[float, ...] | None
    classes: str
    classes_differ: bool

    @property
    def class_weights_option(self) -> str | None:
        """What to write behind `--class-weights`."""
        return self.class_weights and ",".join(f"{weight:.3g}" for weight in self.class_weights)

    def to_json(self) -> dict:
        """`size` as `HxW` or null, `class_weights` as the option takes them or null, and
        `classes`, the text of a `classes.yaml`."""
        return {
            "size": self.size and f"{self.size[0]}x{self.size[1]}",
            "class_weights": self.class_weights_option,
            "classes": self.classes,
        }


def suggest(
    dataset: Dataset, splits: dict[str, SplitStatistics], issues: Sequence[Issue]
) -> Suggestions:
    """What to train with, by what was read and found."""
    train = splits.get("train") or next(iter(splits.values()))
    rules = {issue.rule for issue in issues}
    ids = _unknown_ids(dataset, splits) if "unknown-ids" in rules else []
    colours = _unknown_colours(splits)
    return Suggestions(
        size=suggest_size(sum((split.sizes for split in splits.values()), Counter())),
        class_weights=suggest_weights(train.pixels[: dataset.label_map.num_classes]),
        classes=_classes_file(dataset, ids, colours),
        classes_differ=bool(ids or colours or "inferred-classes" in rules),
    )


def suggest_size(sizes: Counter) -> tuple[int, int] | None:
    """A crop of the shape of the median image: all of it, or as much as `LARGEST_CROP` holds.

    Args:
        sizes: How many images have each `(height, width)`.

    Returns:
        `(height, width)`, multiples of 32.
    """
    if not sizes:
        return None
    sides = np.median(np.repeat(list(sizes), list(sizes.values()), axis=0), axis=0)
    scale = math.sqrt(LARGEST_CROP / sides.prod())
    if scale >= 1:  # the whole image fits
        height, width = np.ceil(sides / STRIDE)
    else:
        height, width = np.maximum(np.round(sides * scale / STRIDE), 1)
    return int(height) * STRIDE, int(width) * STRIDE


def suggest_weights(pixels: np.ndarray) -> tuple[float, ...] | None:
    """Weights for classes of unequal frequency, from pixels by class `[num_classes]`."""
    held = pixels[pixels > 0]
    if len(held) < 2 or held.max() <= BALANCED * held.min():
        return None
    return class_weights("sqrt", pixels)


def _unknown_ids(dataset: Dataset, splits: dict[str, SplitStatistics]) -> list[int]:
    masks = [ids.pixels for split in splits.values() for ids in split.unknown_ids.values()]
    pixels = sum(masks)
    labels = dataset.label_map
    common = np.flatnonzero(pixels > RARE * pixels.sum())
    return np.setdiff1d(common, (*labels.file_ids, *labels.ignored_ids)).tolist()


def _unknown_colours(splits: dict[str, SplitStatistics]) -> list[tuple[int, int, int]]:
    found = set().union(*(split.unknown_colours for split in splits.values()))
    return sorted(found) if len(found) <= MOST_COLOURS else []


def _classes_file(dataset: Dataset, ids: Sequence[int], colours: Sequence) -> str:
    """`classes.yaml` with the declared classes, and a class for each unknown id or colour."""
    labels = dataset.label_map
    lines = ["classes:"]
    if dataset.colours or not colours:
        keyed = zip(labels.names, labels.file_ids, labels.palette)
        for name, number, colour in keyed:
            number = "" if dataset.colours else f"id: {number}, "
            lines.append(f"  - {{name: {json.dumps(name)}, {number}color: {list(colour)}}}")
    lines += [f'  - {{name: "class {number}", id: {number}}}' for number in ids]
    for red, green, blue in colours:
        name = f"#{red:02x}{green:02x}{blue:02x}"
        lines.append(f'  - {{name: "{name}", color: {[red, green, blue]}}}')
    void: list = [number for number in labels.ignored_ids if number != VOID]
    if dataset.colours:
        pairs = zip(dataset.colours.colours, dataset.colours.class_ids)
        void = [list(colour) for colour, class_id in pairs if class_id == VOID]
    elif colours:
        void = []
    if void:
        lines.append(f"ignore: {void}")
    return "\n".join(lines) + "\n"
