"""From files to training batches, with tf.data (whatever Keras' backend is).

View number i of a run is a function of (seed, i) alone: which sample it shows, how it is cropped
and coloured. A resumed run therefore sees what an uninterrupted one would have seen.

Where there are soft labels, of the split's images or of extra ones, labels are a dictionary of
class ids and shares; else they are the class ids alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_bisenet.data.augmentation import Augmentation, mixed_views, random_view
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
    """

    samples: Sequence[Sample]
    soft: SoftLabels
    rows: int
    num_epochs: int


class TrainingPipeline:
    """Endless shuffled, augmented batches of a split.

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
        return True

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

    def batches(self, first_epoch: int = 0) -> tf.data.Dataset:
        """The batches of `first_epoch` and of all epochs after it.

        Returns:
            An endless `tf.data.Dataset` of float32 images in [0, 1] `[batch, height, width, 3]`
            and labels; an epoch is `steps_per_epoch` of them. `batch` is this process' share.
            Labels are int32 class ids `[batch, height, width]`, or a dictionary of those,
            `class_ids`, and of `shares`, float32 `[batch, height / SOFT_STRIDE, width /
            SOFT_STRIDE, num_classes]`, all 0 where there are no soft labels.
        """
        views_per_epoch = self.steps_per_epoch * self.batch_size
        part, num_parts = self.share
        part_size = self.batch_size // num_parts

        def view(count):
            batch, row = count // part_size, count % part_size
            number = batch * self.batch_size + part * part_size + row
            epoch, place = number // views_per_epoch, number % views_per_epoch
            seed = tf.random.fold_in(tf.constant([self.seed, 0]), number)
            sample = self._shuffled(place, epoch)
            if self.extra:
                sample = self._or_extra(sample, batch, part * part_size + row, epoch)
            shown = self._view(sample, seed)
            if not self.augmentation.cutmix:
                return self._labelled(shown)
            choice_seed, sample_seed, view_seed, mix_seed = tf.unstack(
                tf.random.split(tf.random.fold_in(tf.constant([self.seed, 1]), number), 4)
            )
            mixed = tf.cond(
                tf.random.stateless_uniform([], choice_seed) < self.augmentation.cutmix,
                lambda: mixed_views(
                    shown, self._view(self._any_sample(sample_seed), view_seed), mix_seed
                ),
                lambda: shown,
            )
            return self._labelled(mixed)

        counts = tf.data.Dataset.counter(first_epoch * self.steps_per_epoch * part_size)
        views = counts.map(view, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return views.batch(part_size, drop_remainder=True).prefetch(2)

    def _shuffled(self, place, epoch):
        """The sample at a place of an epoch's order."""
        last = len(self.samples) - 1
        return tf.random.experimental.index_shuffle(place, tf.stack([self.seed, epoch]), last)

    def _or_extra(self, sample, batch, row, epoch):
        """The sample, or, in an extra image's row, the next one in their own order."""
        first_row = self.batch_size - self.extra.rows
        count = len(self.extra.samples)
        # Rows before the first never take what is computed for them.
        number = tf.maximum(batch * self.extra.rows + row - first_row, 0)
        order = tf.stack([self.seed + 1, number // count])
        place = tf.random.experimental.index_shuffle(number % count, order, count - 1)
        is_extra = (row >= first_row) & (epoch < self.extra.num_epochs)
        return tf.where(is_extra, len(self.samples) + place, sample)

    def _labelled(self, view):
        """An image and its labels, of what `random_view` returns."""
        image, class_ids, *shares = view
        return image, {"class_ids": class_ids, "shares": shares[0]} if shares else class_ids

    def _any_sample(self, seed):
        return tf.random.stateless_uniform([], seed, 0, len(self.samples), tf.int64)

    def _view(self, sample, seed):
        """A random view of a sample: what `random_view` returns."""
        kinds = (tf.uint8,) * (3 if self._has_soft else 2)
        image, mask, *shares = tf.numpy_function(self._read, [sample], kinds)
        image.set_shape((None, None, 3))
        mask.set_shape((None, None))
        for part in shares:
            part.set_shape((None, None, self.dataset.label_map.num_classes))
        return random_view(image, mask, self.size, seed, self.augmentation, *shares)

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
            image = read_image(sample.image)
            nothing = np.full(image.shape[:2], VOID, np.uint8)
            return (image, nothing, self.extra.soft.read(sample.image)), ()
        pair = self.dataset.read_pair(sample)
        source = pair.image, pair.class_ids
        if self.soft:
            source += (self.soft.read(sample.image),)
        elif self._has_soft:
            source += (np.zeros((1, 1, self.dataset.label_map.num_classes), np.uint8),)
        return source, pair.warnings
