"""What the samples of a split have in common: counts by class, by size, and what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from keras_bisenet.data.check.sample_statistics import Fingerprint, SampleStatistics, UnknownIds
from keras_bisenet.data.dataset import Sample
from keras_bisenet.data.problems import Problem
from keras_bisenet.label_map import VOID


class Dominance(NamedTuple):
    """A good mask's most frequent class.

    Attributes:
        share: Its share of the pixels that count; 0 where all are void.
        class_id: The class; `VOID` where all pixels are void.
    """

    share: float
    class_id: int


@dataclass
class SplitStatistics:
    """What is in a split. The lists with an entry per sample have None where it has no such fact.

    Args:
        samples: Its samples.
        pixels: int64 `[256]`, pixels by class id; `VOID` for void.
        images: int64 `[256]`, images that hold each class id.
        file_ids: int64 `[256]`, pixels by id in the mask files.
        sizes: How many images have each `(height, width)`.
        good: How many pairs can be used.
        problems: The number of a sample and what is wrong with it.
        fingerprints: The images', an entry per sample.
        dominance: The good masks', an entry per sample.
        unknown_ids: Masks with unknown ids, by the number of the sample.
        unknown_colours: How many masks hold each colour that no class has.
    """

    samples: Sequence[Sample]
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    images: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    file_ids: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    sizes: Counter = field(default_factory=Counter)
    good: int = 0
    problems: list[tuple[int, Problem]] = field(default_factory=list)
    fingerprints: list[Fingerprint | None] = field(default_factory=list)
    dominance: list[Dominance | None] = field(default_factory=list)
    unknown_ids: dict[int, UnknownIds] = field(default_factory=dict)
    unknown_colours: Counter = field(default_factory=Counter)

    def add(self, statistics: SampleStatistics) -> None:
        """Counts the next sample in."""
        number = len(self.fingerprints)
        self.problems += [(number, problem) for problem in statistics.problems]
        self.fingerprints.append(statistics.fingerprint)
        self.dominance.append(None if statistics.pixels is None else _dominance(statistics.pixels))
        self.unknown_colours.update(statistics.found)
        if statistics.size:
            self.sizes[statistics.size] += 1
        if statistics.file_ids is not None:
            self.file_ids += statistics.file_ids
        if statistics.unknown_ids:
            self.unknown_ids[number] = statistics.unknown_ids
        if statistics.pixels is not None:
            self.good += 1
            self.pixels += statistics.pixels
            self.images += statistics.pixels > 0

    def shares(self, num_classes: int) -> np.ndarray:
        """Share of the good masks' pixels by class, void last: float64 `[num_classes + 1]`."""
        counts = np.append(self.pixels[:num_classes], self.pixels[VOID])
        return counts / max(counts.sum(), 1)


def _dominance(pixels: np.ndarray) -> Dominance:
    counted = pixels[:VOID]
    total = counted.sum()
    if not total:
        return Dominance(0.0, VOID)
    return Dominance(float(counted.max() / total), int(counted.argmax()))
