"""From files to training batches, with tf.data (whatever Keras' backend is).

View number i of a run is a function of (seed, i) alone: which sample it shows, how it is cropped
and coloured. A resumed run therefore sees what an uninterrupted one would have seen.

Where there are soft labels, of the split's images or of extra ones, labels are a dictionary of
class ids and shares; else they are the class ids alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from keras_bisenet.data.tensorflow_views import mixed_views, random_view
from keras_bisenet.data.training_samples import TrainingSamples


class TrainingPipeline(TrainingSamples):
    """Endless shuffled, augmented batches of a split."""

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

    def arrays(self, first_epoch: int = 0) -> Iterator[tuple]:
        """The same batches, as NumPy arrays.

        Raises:
            UserError: When a file of the data is bad.
        """
        batches = self.batches(first_epoch).as_numpy_iterator()
        while True:
            try:
                yield next(batches)
            except tf.errors.OpError:
                if self.error:
                    raise self.error from None
                raise

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
