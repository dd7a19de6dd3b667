"""Training batches of a data set that stays on an accelerator, made there, with JAX.

An accelerator takes a batch faster than a host's cores make one. Here images are decoded once and
put into its memory; views are made where they are used, as a part of the program that trains.
Needs no TensorFlow.

View number i of a run is a function of (seed, i) alone, as in `pipeline`, though another one.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from keras_bisenet.data.jax_views import Source, mixed_views, random_view
from keras_bisenet.data.training_samples import TrainingSamples


class ResidentPipeline(TrainingSamples):
    """Endless shuffled, augmented batches of a split, as functions of their number."""

    def preload(self, progress: Callable[[int], None] | None = None) -> bool:
        """Reads the split into memory, whatever its size. See `TrainingSamples.preload`."""
        self._read_all(progress)
        return True

    def sources(self) -> Source:
        """All images with their labels, as arrays of a host's memory: `[n, ...]`.

        Each has room for the largest. The extra images are the last.

        Raises:
            UserError: When a file is bad.
        """
        decoded = self._decoded or self._read_all()
        images, masks, *shares = zip(*decoded)
        return Source(
            image=_stacked(images),
            mask=_stacked(masks),
            shares=_stacked(shares[0]) if shares else None,
            size=_sizes(images),
            soft_size=_sizes(shares[0]) if shares else None,
        )

    def batch(self, sources: Source, number):
        """A batch of a run, by its number from 0.

        Args:
            sources: What `sources` returned, in the accelerator's memory.
            number: int32 scalar.

        Returns:
            Images and labels as `TrainingPipeline.batches` gives them.
        """
        key = jax.random.fold_in(jax.random.key(self.seed), number)
        sample_key, *view_keys = jax.random.split(key, 1 + self.batch_size)
        samples = self._samples_of(number, sample_key)
        parts = jax.vmap(lambda i, k: self._view(sources, i, k))(samples, jnp.stack(view_keys))
        images, class_ids, *shares = parts
        return images, {"class_ids": class_ids, "shares": shares[0]} if shares else class_ids

    def _samples_of(self, number, key):
        """Which samples a batch shows: those of the split in a new order each epoch, each once;
        extra images at random."""
        epoch, place = number // self.steps_per_epoch, number % self.steps_per_epoch
        epoch_key = jax.random.fold_in(jax.random.key(self.seed + 1), epoch)
        order = jax.random.permutation(epoch_key, len(self.samples))
        samples = jax.lax.dynamic_slice_in_dim(order, place * self.batch_size, self.batch_size)
        if not self.extra:
            return samples
        count, rows = len(self.extra.samples), self.extra.rows
        extra = len(self.samples) + jax.random.randint(key, (self.batch_size,), 0, count)
        is_extra = jnp.arange(self.batch_size) >= self.batch_size - rows
        return jnp.where(is_extra & (epoch < self.extra.num_epochs), extra, samples)

    def _view(self, sources: Source, index, key):
        view_key, choice_key, other_key, other_view_key, mix_key = jax.random.split(key, 5)
        view = self._random_view(sources, index, view_key)
        if not self.augmentation.cutmix:
            return view
        other = jax.random.randint(other_key, (), 0, len(self.samples))
        mixed = mixed_views(view, self._random_view(sources, other, other_view_key), mix_key)
        is_mixed = jax.random.bernoulli(choice_key, self.augmentation.cutmix)
        return tuple(jnp.where(is_mixed, *parts) for parts in zip(mixed, view))

    def _random_view(self, sources: Source, index, key):
        source = jax.tree.map(lambda array: array[index], sources)
        return random_view(source, self.size, key, self.augmentation)


def _sizes(arrays) -> np.ndarray:
    return np.array([array.shape[:2] for array in arrays], np.int32)


def _stacked(arrays) -> np.ndarray:
    """Arrays of several heights and widths as one, zeros below and to the right of each."""
    height, width = _sizes(arrays).max(axis=0)
    stacked = np.zeros((len(arrays), height, width, *arrays[0].shape[2:]), arrays[0].dtype)
    for place, array in zip(stacked, arrays):
        place[: array.shape[0], : array.shape[1]] = array
    return stacked
