"""The images that a run trains on, in memory where they fit: what all pipelines read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from keras_bisenet.data.augmentation import Augmentation
from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.data.problems import Problem, combined, print_warning
from keras_bisenet.data.soft_labels import SoftLabels
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.imaging.reading import read_image
from keras_bisenet.label_map import VOID

CACHE_LIMIT = 2 << 30
"""Decoded splits up to this many bytes stay in memory."""


@dataclass(frozen=True)
class Extra:
    """Images without hard labels that take a part of each batch.

    Args:
        samples: The images; their masks are not read.
        soft: Their soft labels.
        rows: int. So many of a batch's views show them, the last ones.
        num_epochs: int. Only the first so many epochs have them.
        image_range: What is white in images of more than 8 bits; None where each file tells.
    """

    samples: Sequence[Sample]
    soft: SoftLabels
    rows: int
    num_epochs: int
    image_range: float | None = None

    def read_image(self, sample: Sample) -> np.ndarray:
        """One of the images: uint8 `[height, width, 3]`.

        Raises:
            UserError: When the file is damaged.
        """
        return read_image(sample.image, self.image_range)


class TrainingSamples:
    """What batches of a split are made of, and how.

    Args:
        dataset: The data set.
        samples: Its samples to train on.
        size: `(height, width)` of the batches.
        batch_size: int. Images in a batch.
        seed: int. Equal seeds give equal batches.
        augmentation: Defaults to the paper's.
        share: `(i, n)` reads the i-th of n equal parts of each batch, as one of n processes does
            that train together.
        soft: Soft labels of the samples, beside their masks.
        extra: Further images, which take the place of some views of the split.

    Raises:
        UsageError: When there are fewer samples than a batch holds.
    """

    def __init__(
        self,
        dataset: Dataset,
        samples: Sequence[Sample],
        size: tuple[int, int],
        batch_size: int,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        share: tuple[int, int] = (0, 1),
        soft: SoftLabels | None = None,
        extra: Extra | None = None,
    ):
        if len(samples) < batch_size:
            raise UsageError(
                f"{len(samples)} training images do not fill a batch of {batch_size}: "
                "choose a smaller --batch-size"
            )
        self.dataset = dataset
        self.samples = samples
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation or Augmentation()
        self.share = share
        self.soft = soft
        self.extra = extra
        self.steps_per_epoch = len(samples) // batch_size
        self.error: UserError | None = None
        """The mistake in the data that stopped a batch: TensorFlow passes on its text alone."""
        self._sources = [*samples, *(extra.samples if extra else ())]
        self._has_soft = bool(soft or extra)
        self._decoded: list | None = None
        self._warned_of: set[str] = set()

    def preload(self, progress: Callable[[int], None] | None = None) -> bool:
        """Reads the split into memory if it fits, so that a bad file shows before training.

        What had to be done to files to read them, such as resizing masks, is printed and counted.

        Args:
            progress: Called with 1 after each sample.

        Returns:
            Whether it fits.

        Raises:
            UserError: When a file is damaged, or a mask does not suit its image or label map.
        """
        first, last = (self._read_source(index)[0] for index in (0, len(self._sources) - 1))
        counts = len(self.samples), len(self._sources) - len(self.samples)
        sizes = (sum(part.nbytes for part in source) for source in (first, last))
        if sum(count * size for count, size in zip(counts, sizes)) > CACHE_LIMIT:
            return False
        self._read_all(progress)
        return True

    def _read_all(self, progress: Callable[[int], None] | None = None) -> list:
        """Reads all images with their labels into memory."""
        decoded, warnings = [], []
        # Pillow decodes without Python's global lock.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for source, found in threads.map(self._read_source, range(len(self._sources))):
                decoded.append(source)
                warnings += found
                if progress:
                    progress(1)
        self._decoded = decoded
        for problem in combined(warnings):
            print_warning(problem)
        return decoded

    def count_pixels(self) -> np.ndarray:
        """Pixels of the split by class: int64 `[num_classes]`.

        Raises:
            UserError: As `preload`.
        """
        pixels = np.zeros(256, np.int64)
        decoded = self._decoded[: len(self.samples)] if self._decoded else None
        for _, mask, *_ in decoded or map(self.dataset.read, self.samples):
            pixels += np.bincount(mask.reshape(-1), minlength=256)
        return pixels[: self.dataset.label_map.num_classes]

    def _read(self, index: int) -> tuple[np.ndarray, ...]:
        if self._decoded:
            return self._decoded[index]
        try:
            source, warnings = self._read_source(index)
        except UserError as error:
            self.error = error
            raise
        for problem in warnings:
            if problem.rule not in self._warned_of:  # the first stands for all of a large split
                self._warned_of.add(problem.rule)
                print_warning(problem)
        return source

    def _read_source(self, index: int) -> tuple[tuple[np.ndarray, ...], tuple[Problem, ...]]:
        """Image, mask and, where the batches have them, soft labels; and what had to be done."""
        sample = self._sources[index]
        if index >= len(self.samples):
            image = self.extra.read_image(sample)
            nothing = np.full(image.shape[:2], VOID, np.uint8)
            return (image, nothing, self.extra.soft.read(sample.image, image.shape[:2])), ()
        pair = self.dataset.read_pair(sample)
        source = pair.image, pair.class_ids
        if self.soft:
            source += (self.soft.read(sample.image, pair.image.shape[:2]),)
        elif self._has_soft:
            source += (np.zeros((1, 1, self.dataset.label_map.num_classes), np.uint8),)
        return source, pair.warnings
