"""Training batches: reproducible, each sample once an epoch, and masks in step with images."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_bisenet.data import training_samples
from keras_bisenet.data.augmentation import Augmentation
from keras_bisenet.data.dataset import Dataset, Pair, Sample
from keras_bisenet.data.pipeline import TrainingPipeline
from keras_bisenet.data.tensorflow_views import mixed_views, random_view
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.label_map import VOID, LabelMap

PALETTE = np.array([(10, 20, 30), (250, 30, 60), (40, 240, 90), (70, 50, 230)], np.uint8)
LABELS = LabelMap(("a", "b", "c", "d"), tuple(map(tuple, PALETTE.tolist())))
PLAIN = Augmentation(scale=(1.0, 1.0), flip=False, jitter=0.0)
SIZE = (32, 64)


class InMemory(Dataset):
    """A data set of arrays; a sample's file name is its number."""

    def __init__(self, pairs):
        samples = tuple(Sample(Path(str(i)), Path(str(i))) for i in range(len(pairs)))
        super().__init__("memory", LABELS, {"train": samples})
        object.__setattr__(self, "pairs", pairs)

    def read_pair(self, sample):
        return Pair(*self.pairs[int(sample.image.name)], ())


def blocks(height, width, side=16, seed=0):
    """A mask of square blocks of one class each, and the image that shows them in colours."""
    rows, columns = -(-height // side), -(-width // side)
    classes = np.random.default_rng(seed).integers(0, 4, (rows, columns), dtype=np.uint8)
    mask = classes.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
    return PALETTE[mask], mask


def numbered(count, size=SIZE):
    """Samples whose every pixel has the sample's number for its red, green and blue."""
    return [(np.full((*size, 3), 10 * i, np.uint8), np.zeros(size, np.uint8)) for i in range(count)]


def make(pairs, batch_size=2, seed=0, augmentation=PLAIN, size=SIZE, preload=True):
    dataset = InMemory(pairs)
    pipeline = TrainingPipeline(
        dataset, dataset.split("train"), size, batch_size, seed, augmentation
    )
    if preload:
        pipeline.preload()
    return pipeline


def take(pipeline, count, first_epoch=0):
    batches = pipeline.batches(first_epoch).as_numpy_iterator()
    return list(itertools.islice(batches, count))


def assert_equal(batches, others):
    for (images, masks), (other_images, other_masks) in zip(batches, others):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(masks, other_masks)
    assert len(batches) == len(others) > 0


def views(image, mask, count, augmentation, size=SIZE, seed=0):
    image, mask = tf.constant(image), tf.constant(mask)
    view = tf.function(lambda number: random_view(image, mask, size, [seed, number], augmentation))
    return [tuple(x.numpy() for x in view(tf.constant(i))) for i in range(count)]


# === Reproducibility ===

EVERYTHING = Augmentation(tint=0.2, stretch=0.2, cutmix=0.5)


def scenes():
    return [blocks(40, 70, seed=i) for i in range(7)]


def test_one_seed_gives_the_same_batches():
    first, second = (make(scenes(), augmentation=EVERYTHING, seed=3) for _ in range(2))
    assert_equal(take(first, 9), take(second, 9))


def test_reading_ahead_changes_nothing():
    first, second = (make(scenes(), augmentation=EVERYTHING, preload=p) for p in (True, False))
    assert_equal(take(first, 4), take(second, 4))


def test_another_seed_gives_other_batches():
    first, second = (make(scenes(), augmentation=EVERYTHING, seed=s) for s in (0, 1))
    for (images, _), (other_images, _) in zip(take(first, 3), take(second, 3)):
        assert np.abs(images - other_images).mean() > 0.05


def test_every_epoch_shows_other_views():
    pipeline = make(scenes(), augmentation=EVERYTHING)
    batches = take(pipeline, 2 * pipeline.steps_per_epoch)
    first = np.concatenate([images for images, _ in batches[: pipeline.steps_per_epoch]])
    second = np.concatenate([images for images, _ in batches[pipeline.steps_per_epoch :]])
    closest = np.abs(first[:, None] - second[None]).mean(axis=(2, 3, 4)).min()
    assert closest > 0.01


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_resumed_run_sees_what_an_uninterrupted_one_would(epoch):
    pipeline = make(scenes(), augmentation=EVERYTHING, seed=5)
    steps = pipeline.steps_per_epoch
    assert_equal(
        take(pipeline, steps, first_epoch=epoch), take(pipeline, 5 * steps)[epoch * steps :][:steps]
    )


@pytest.mark.parametrize(("count", "batch_size"), [(8, 2), (8, 3), (5, 5)])
def test_an_epoch_shows_each_sample_at_most_once(count, batch_size):
    pipeline = make(numbered(count), batch_size)
    assert pipeline.steps_per_epoch == count // batch_size
    orders = []
    for epoch in range(3):
        batches = take(pipeline, pipeline.steps_per_epoch, epoch)
        shown = np.concatenate([images[:, 0, 0, 0] for images, _ in batches]) * 255 / 10
        orders.append(shown.round().astype(int).tolist())
        assert len(set(orders[-1])) == batch_size * (count // batch_size)
    assert orders[0] != orders[1] != orders[2]


def test_batches_are_what_keras_takes():
    (batch,) = take(make(scenes(), batch_size=3), 1)
    images, masks = batch
    assert (images.dtype, images.shape) == (np.float32, (3, *SIZE, 3))
    assert (masks.dtype, masks.shape) == (np.int32, (3, *SIZE))
    spec = make(scenes(), batch_size=3).batches().element_spec
    assert [tuple(s.shape) for s in spec] == [(3, *SIZE, 3), (3, *SIZE)]


# === Views ===


def test_at_scale_1_a_view_is_a_part_of_its_image():
    image, mask = blocks(50, 90)
    corners = set()
    for view, ids in views(image, mask, 12, PLAIN):
        np.testing.assert_array_equal(np.round(view * 255).astype(np.uint8), PALETTE[ids])
        places = [
            (y, x)
            for y in range(50 - 32 + 1)
            for x in range(90 - 64 + 1)
            if np.array_equal(mask[y : y + 32, x : x + 64], ids)
        ]
        assert places
        corners.add(places[0])
    assert len(corners) > 6


def test_what_is_no_image_is_black_and_void():
    image, mask = blocks(20, 50)
    places = set()
    for view, ids in views(image, mask, 12, PLAIN):
        inside = ids != VOID
        assert inside.sum() == 20 * 50
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        assert (len(rows), len(columns)) == (20, 50)
        part = ids[rows[0] : rows[0] + 20, columns[0] : columns[0] + 50]
        np.testing.assert_array_equal(part, mask)
        assert not view[~inside].any()
        np.testing.assert_array_equal(np.round(view[inside] * 255), PALETTE[ids[inside]])
        places.add((rows[0], columns[0]))
    assert len(places) > 6


def test_void_stays_void():
    image, mask = blocks(32, 64)
    mask[10:20] = VOID
    ((_, ids),) = views(image, mask, 1, PLAIN)
    np.testing.assert_array_equal(ids, mask)


@pytest.mark.parametrize("scale", [0.75, 1.3, 2.0])
def test_a_scaled_mask_stays_in_step_with_its_image(scale):
    image, mask = blocks(60, 120)
    augmentation = Augmentation(scale=(scale, scale), flip=True, jitter=0.0)
    compared = 0
    for view, ids in views(image, mask, 8, augmentation):
        assert set(np.unique(ids)) <= {0, 1, 2, 3, VOID}
        # Colours mix in the pixels beside a border, and in no others.
        inner = ids != VOID
        for dy, dx in itertools.product((-1, 0, 1), repeat=2):
            inner &= np.roll(ids, (dy, dx), (0, 1)) == ids
        inner[[0, -1]] = inner[:, [0, -1]] = False
        np.testing.assert_allclose(view[inner] * 255, PALETTE[ids[inner]], rtol=0, atol=0.01)
        compared += inner.mean()
    assert compared / 8 > 0.1


def test_scaling_magnifies():
    image, mask = blocks(64, 128, side=64)
    mask[:, :64], mask[:, 64:] = 0, 1
    mask[:10], mask[-10:] = 2, 2  # 44 rows between two bands of 10
    augmentation = Augmentation(scale=(0.5, 0.5), flip=False, jitter=0.0)
    ((_, ids),) = views(image, mask, 1, augmentation, size=(32, 64))
    assert [int((ids[:, 0] == c).sum()) for c in (2, 0)] == [10, 22]
    assert (ids != VOID).all()


def test_half_of_the_views_are_mirrored():
    mask = np.zeros(SIZE, np.uint8)
    mask[:, :20] = 1
    flipped = [
        bool(ids[0, -1] == 1)
        for _, ids in views(PALETTE[mask], mask, 60, Augmentation((1.0, 1.0), True, 0.0))
    ]
    assert 18 <= sum(flipped) <= 42
    for view, ids in views(PALETTE[mask], mask, 10, Augmentation((1.0, 1.0), True, 0.0)):
        np.testing.assert_array_equal(np.round(view * 255).astype(np.uint8), PALETTE[ids])


def test_jitter_changes_colours_and_no_mask():
    image, mask = blocks(*SIZE)
    brightness = []
    for view, ids in views(image, mask, 20, Augmentation((1.0, 1.0), False, 0.4)):
        np.testing.assert_array_equal(ids, mask)
        assert 0 <= view.min() and view.max() <= 1
        brightness.append(view.mean())
    assert max(brightness) / min(brightness) > 1.3
    assert 0.6 < np.mean(brightness) / (image / 255).mean() < 1.2


def test_a_tint_changes_the_proportions_of_red_green_and_blue():
    image, mask = np.full((*SIZE, 3), 100, np.uint8), np.zeros(SIZE, np.uint8)
    tint = Augmentation((1.0, 1.0), False, 0.0, tint=0.2)
    seen = views(image, mask, 40, tint)
    gains = np.array([view[0, 0] for view, _ in seen]) * 255 / 100
    assert 0.8 <= gains.min() < 0.85 and 1.15 < gains.max() <= 1.2
    assert np.abs(np.corrcoef(gains.T)[np.triu_indices(3, 1)]).max() < 0.5  # each by itself
    assert all((view == view[0, 0]).all() and (ids == 0).all() for view, ids in seen)


def test_a_stretch_changes_proportions_alone():
    image, mask = blocks(64, 128, side=64)
    mask[:] = VOID
    mask[24:40, 48:80] = 0  # 16 x 32
    stretch = Augmentation((0.5, 0.5), False, 0.0, stretch=0.5)
    sides = []
    for _, ids in views(image, mask, 30, stretch, size=(64, 128)):
        inside = ids == 0
        sides.append((inside.any(axis=1).sum(), inside.any(axis=0).sum()))
    height, width = np.array(sides).T
    widened = width / 2 / height
    assert widened.min() < 0.8 and widened.max() > 1.25
    assert widened.min() > 1 / 1.5 - 0.15 and widened.max() < 1.5 + 0.25  # to a pixel
    assert np.abs(height * width - 8 * 16).max() < 30


def test_cutmix_shows_a_rectangle_of_another_view_in_its_place():
    image, other = (tf.fill((*SIZE, 3), value) for value in (0.25, 0.75))
    mask, other_mask = (tf.fill(SIZE, value) for value in (1, 2))
    areas, heights = [], []
    for i in range(60):
        mixed, ids = mixed_views((image, mask), (other, other_mask), [0, i])
        mixed, cut = mixed.numpy(), ids.numpy() == 2
        assert (mixed == np.where(cut, 0.75, 0.25)[..., None]).all()
        rows, columns = cut.any(axis=1).sum(), cut.any(axis=0).sum()
        assert cut.sum() == rows * columns  # one rectangle
        areas.append(cut.mean())
        heights.append(rows / SIZE[0])
    assert max(areas) < 0.53 and 0.15 < np.mean(areas) < 0.35  # up to a half; a quarter on average
    assert min(heights) < 0.2 and max(heights) > 0.9


def test_the_asked_share_of_views_is_mixed():
    pairs = [
        (np.full((*SIZE, 3), 10 * i, np.uint8), np.full(SIZE, i % 4, np.uint8)) for i in range(20)
    ]
    mix = Augmentation((1.0, 1.0), False, 0.0, cutmix=0.5)
    batches = take(make(pairs, 10, augmentation=mix), 10)
    seen = [(v, m) for images, masks in batches for v, m in zip(images, masks)]
    mixed = [len(np.unique(view)) > 1 for view, _ in seen]
    assert 35 <= sum(mixed) <= 65
    for view, ids in seen:  # the mask is cut as the image is
        np.testing.assert_array_equal(np.round(view[..., 0] * 25.5).astype(int) % 4, ids)


# === Mistakes ===


def test_too_few_samples_for_a_batch():
    with pytest.raises(UsageError) as caught:
        make(numbered(3), batch_size=4)
    assert str(caught.value) == (
        "3 training images do not fill a batch of 4: choose a smaller --batch-size"
    )


class Damaged(InMemory):
    def read_pair(self, sample):
        if sample.image.name == "3":
            raise UserError("3.png: a damaged image: copy it again")
        return super().read_pair(sample)


def test_a_bad_file_is_named_when_reading_ahead():
    dataset = Damaged(numbered(5))
    pipeline = TrainingPipeline(dataset, dataset.split("train"), SIZE, 2)
    with pytest.raises(UserError, match="^3.png: a damaged image: copy it again$"):
        pipeline.preload()


def test_a_bad_file_is_named_when_it_is_met_later(monkeypatch):
    monkeypatch.setattr(training_samples, "CACHE_LIMIT", 0)
    dataset = Damaged(numbered(5))
    pipeline = TrainingPipeline(dataset, dataset.split("train"), SIZE, 5)
    pipeline.preload()
    with pytest.raises(tf.errors.OpError):
        take(pipeline, 1)
    assert str(pipeline.error) == "3.png: a damaged image: copy it again"
