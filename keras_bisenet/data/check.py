"""Reading a whole split to find what is wrong with it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.errors import UserError
from keras_bisenet.label_map import VOID, LabelMap


@dataclass
class SplitReport:
    """What is in a split.

    Args:
        pixels: int64 `[256]`, pixels by class id; `VOID` for void.
        sizes: How many images have each `(height, width)`.
        errors: What is wrong, a line per bad pair.
    """

    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    sizes: Counter = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    num_classes: int = 0

    @property
    def pairs(self) -> int:
        """Number of good pairs."""
        return sum(self.sizes.values())

    @property
    def shares(self) -> np.ndarray:
        """Share of the pixels by class, void last: float64 `[num_classes + 1]`."""
        counts = np.append(self.pixels[: self.num_classes], self.pixels[VOID])
        return counts / max(counts.sum(), 1)

    def to_json(self, labels: LabelMap) -> dict:
        return {
            "pairs": self.pairs,
            "sizes": {f"{h}x{w}": n for (h, w), n in sorted(self.sizes.items())},
            "shares": dict(zip((*labels.names, "void"), self.shares.tolist())),
            "errors": self.errors,
        }


def check_samples(
    dataset: Dataset, samples: Sequence[Sample], progress: Callable[[int], None] | None = None
) -> SplitReport:
    """Reads every pair of a split, several at a time, and goes on where one is bad.

    Args:
        dataset: Where the samples come from.
        samples: What to read.
        progress: Called with 1 after each.
    """
    report = SplitReport(num_classes=dataset.label_map.num_classes)

    def summarize(sample):
        try:
            image, mask = dataset.read(sample)
        except UserError as error:
            return error
        return image.shape[:2], np.bincount(mask.reshape(-1), minlength=256)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for found in threads.map(summarize, samples):
            if isinstance(found, UserError):
                report.errors.append(str(found))
            else:
                size, pixels = found
                report.sizes[size] += 1
                report.pixels += pixels
            if progress:
                progress(1)
    return report
