"""From files to training batches, with tf.data (whatever Keras' backend is).

View number i of a run is a function of (seed, i) alone: which sample it shows, how it is cropped
and coloured. A resumed run therefore sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from keras_bisenet.data.augmentation import Augmentation, mixed_views, random_view
from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.data.problems import combined, print_warning
from keras_bisenet.errors import UsageError, UserError

CACHE_LIMIT = 2 << 30
"""Decoded splits up to this many bytes stay in memory."""


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
        self.steps_per_epoch = len(samples) // batch_size
        self.error: UserError | None = None
        """The mistake in the data that stopped a batch: TensorFlow passes on its text alone."""
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
        first_image, first_mask = self.dataset.read(self.samples[0])
        if (first_image.nbytes + first_mask.nbytes) * len(self.samples) > CACHE_LIMIT:
            return False
        decoded, warnings = [], []
        # Pillow decodes without Python's global lock.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for pair in threads.map(self.dataset.read_pair, self.samples):
                decoded.append((pair.image, pair.class_ids))
                warnings += pair.warnings
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
        masks = (mask for _, mask in self._decoded or map(self.dataset.read, self.samples))
        for mask in masks:
            pixels += np.bincount(mask.reshape(-1), minlength=256)
        return pixels[: self.dataset.label_map.num_classes]

    def batches(self, first_epoch: int = 0) -> tf.data.Dataset:
        """The batches of `first_epoch` and of all epochs after it.

        Returns:
            An endless `tf.data.Dataset` of float32 images in [0, 1] `[batch, height, width, 3]`
            and int32 class ids `[batch, height, width]`; an epoch is `steps_per_epoch` of them.
            `batch` is this process' share.
        """
        views_per_epoch = self.steps_per_epoch * self.batch_size
        part, num_parts = self.share
        part_size = self.batch_size // num_parts

        def view(count):
            batch, row = count // part_size, count % part_size
            number = batch * self.batch_size + part * part_size + row
            epoch, place = number // views_per_epoch, number % views_per_epoch
            seed = tf.random.fold_in(tf.constant([self.seed, 0]), number)
            shown = self._view(self._shuffled(place, epoch), seed)
            if not self.augmentation.cutmix:
                return shown
            choice_seed, sample_seed, view_seed, mix_seed = tf.unstack(
                tf.random.split(tf.random.fold_in(tf.constant([self.seed, 1]), number), 4)
            )
            return tf.cond(
                tf.random.stateless_uniform([], choice_seed) < self.augmentation.cutmix,
                lambda: mixed_views(
                    shown, self._view(self._any_sample(sample_seed), view_seed), mix_seed
                ),
                lambda: shown,
            )

        counts = tf.data.Dataset.counter(first_epoch * self.steps_per_epoch * part_size)
        views = counts.map(view, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return views.batch(part_size, drop_remainder=True).prefetch(2)

    def _shuffled(self, place, epoch):
        """The sample at a place of an epoch's order."""
        last = len(self.samples) - 1
        return tf.random.experimental.index_shuffle(place, tf.stack([self.seed, epoch]), last)

    def _any_sample(self, seed):
        return tf.random.stateless_uniform([], seed, 0, len(self.samples), tf.int64)

    def _view(self, sample, seed):
        """A random view of a sample: what `random_view` returns."""
        image, mask = tf.numpy_function(self._read, [sample], (tf.uint8, tf.uint8))
        image.set_shape((None, None, 3))
        mask.set_shape((None, None))
        return random_view(image, mask, self.size, seed, self.augmentation)

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self._decoded:
            return self._decoded[index]
        try:
            pair = self.dataset.read_pair(self.samples[index])
        except UserError as error:
            self.error = error
            raise
        for problem in pair.warnings:
            if problem.rule not in self._warned_of:  # the first stands for all of a large split
                self._warned_of.add(problem.rule)
                print_warning(problem)
        return pair.image, pair.class_ids
