"""Data and steps on an accelerator: views as TensorFlow makes them, and the training of one step
after the other, without TensorFlow."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

from keras_bisenet.cli import main
from keras_bisenet.data import tensorflow_views
from keras_bisenet.data.augmentation import SOFT_STRIDE, Augmentation
from keras_bisenet.data.dataset import Dataset, Pair, Sample
from keras_bisenet.data.soft_labels import SoftLabels, unlabelled_images
from keras_bisenet.data.training_samples import Extra
from keras_bisenet.label_map import VOID, LabelMap
from keras_bisenet.training.config import write_config

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'keras-bisenet[test]'")

from keras_bisenet.data import jax_views  # noqa: E402
from keras_bisenet.data.resident import ResidentPipeline  # noqa: E402

PLAIN = Augmentation(scale=(1.0, 1.0), flip=False, jitter=0.0)
LABELS = LabelMap(("a", "b", "c"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))
SIZE = (32, 64)


# === Training, in a process of its own that starts before the other tests ===

STEPS = '''
"""Trains resident in one go, in two, and step by step; prints what each gave."""
import dataclasses, json, sys

sys.modules["tensorflow"] = sys.modules["tensorflow.compat"] = None  # as if not installed

import jax, keras, numpy as np
from keras import layers
from keras_bisenet.training import steps, trainer
from keras_bisenet.training.config import TrainingConfig, make_config, read_config
from keras_bisenet.training.run import Run


def small_network(name, num_classes, **options):
    image = keras.Input((64, 96, 3))
    x = layers.Conv2D(8, 3, 8, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(num_classes, 1)(x)
    return keras.Model(image, layers.UpSampling2D(8, interpolation="bilinear")(x))


class OneByOne(steps.StepByStep):
    """Keras' own step, on the batches of the resident pipeline."""

    def __init__(self, model, pipeline, first_epoch):
        sources = pipeline.sources()
        pipeline.arrays = lambda _: (
            jax.tree.map(np.asarray, pipeline.batch(jax.device_put(sources), number))
            for number in range(10**6)
        )
        super().__init__(model, pipeline, first_epoch)


def row_and_weights(path, config, steps_kind=steps.ResidentSteps):
    run = Run(path)
    if not run.config_file.exists():
        run = Run.create(path, config, trainer.Run(path).load_dataset(config).label_map)
    trainer.ResidentSteps = steps_kind
    rows = trainer.train(config, run)
    model = keras.saving.load_model(run.model_file)
    weights = [np.asarray(w).ravel().tolist() for w in model.weights]
    return {"rows": [[r["epoch"], r["loss"], r["val_miou"]] for r in rows], "weights": weights}


trainer.build_model = small_network
config = make_config(TrainingConfig, read_config(sys.argv[1]))
places = {name: f"{sys.argv[2]}/{name}" for name in ("whole", "parts", "steps")}
whole = row_and_weights(places["whole"], config)

# Stopped by a failure after the first epoch's row, as a kill would; then it goes on.
write = Run.write_metrics
def stop(self, rows):
    write(self, rows)
    raise KeyboardInterrupt
Run.write_metrics = stop
try:
    row_and_weights(places["parts"], config)
except KeyboardInterrupt:
    Run.write_metrics = write
parts = row_and_weights(places["parts"], config)
by_step = row_and_weights(places["steps"], config, OneByOne)
print(json.dumps({"whole": whole, "parts": parts, "steps": by_step}))
'''


@pytest.fixture(scope="module", autouse=True)
def trained(tmp_path_factory, tiny, start_on_jax):
    """A function that waits for what the program printed."""
    folder = tmp_path_factory.mktemp("resident")
    options = {"boosters": False, "epochs": 2, "resident": True, "optimizer": "adamw", "ema": 0.9}
    extra = write_extra(tmp_path_factory.mktemp("extra"), 11)
    extra = {"extra": str(extra), "extra_until": 0.5, "cutmix": 0.5}
    write_config(folder / "config.yaml", tiny(**options, **extra))
    wait = start_on_jax(STEPS, folder / "config.yaml", folder, devices=1)
    return functools.lru_cache(lambda: json.loads(wait().splitlines()[-1]))


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Without optimization XLA compiles in a fraction of the time."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def write_extra(folder: Path, num_classes: int) -> Path:
    """Two images of different sizes and their soft labels."""
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(2):
        path = folder / "images" / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (40, 60 + 20 * i, 3), dtype=np.uint8)).save(path)
        shares = rng.integers(0, 16, (10, 15 + 5 * i, num_classes), dtype=np.uint8)
        SoftLabels(folder / "soft", num_classes).write(path, shares)
    return folder


# === Views ===


def spans_of(shape, size, numbers):
    """Spans as they may be drawn: a window that fills the view, or all of the image within it."""
    rng = np.random.default_rng(numbers)
    key = jax.random.key(numbers)
    scales = rng.uniform(0.4, 2.5, 2)
    return tuple(
        jax_views.random_span(length, view, scale, jax.random.fold_in(key, axis))
        for axis, (length, view, scale) in enumerate(zip(shape, size, scales))
    )


def on_tensorflow(image, mask, shares, spans, size):
    """What `tensorflow_views.random_view` makes of the same spans, before colours and mirroring."""
    rows, columns = (
        tensorflow_views._Span(*(int(n) for n in (s.start, s.start + s.taken, s.length, s.place)))
        for s in spans
    )
    length = rows.length, columns.length
    image, ids = (
        tensorflow_views._window(tf.constant(x), rows, columns) for x in (image, mask[..., None])
    )
    image = tf.image.resize(image, length, "bilinear") / 255.0
    ids = tf.cast(tf.image.resize(ids, length, "nearest"), tf.int32)
    image, ids = (
        tensorflow_views._place(x, rows, columns, size, value)
        for x, value in ((image, 0.0), (ids, VOID))
    )
    shares = tensorflow_views._soft_view(shares, mask.shape, size, rows, columns)
    return image.numpy(), ids.numpy()[..., 0], shares.numpy()


def between_pixels(span, view):
    """Where the centre of a pixel of the view lies on the border of two pixels of the source."""
    twice = 2 * (np.arange(view) - int(span.place)) + 1
    return twice * int(span.taken) % (2 * int(span.length)) == 0


@pytest.mark.parametrize("number", range(4))
def test_a_view_shows_what_tensorflow_shows(number):
    rng = np.random.default_rng(number)
    shape = rng.integers(20, 90, 2)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    mask = rng.integers(0, 3, shape, dtype=np.uint8)
    shares = rng.integers(0, 16, (*(shape // 3), 3), dtype=np.uint8)
    # In arrays with room for larger images, whose rest is not looked at.
    source = jax_views.Source(
        np.pad(image, ((0, 9), (0, 5), (0, 0)), constant_values=99),
        np.pad(mask, ((0, 9), (0, 5)), constant_values=1),
        np.pad(shares, ((0, 4), (0, 2), (0, 0)), constant_values=7),
        np.int32(shape),
        np.int32(shares.shape[:2]),
    )
    source = jax.tree.map(jax.numpy.asarray, source)
    spans = spans_of(shape, SIZE, number)
    shown = jax_views._shown(spans[0], SIZE[0])[:, None] & jax_views._shown(spans[1], SIZE[1])
    expected = on_tensorflow(image, mask, shares, spans, SIZE)
    np.testing.assert_allclose(
        jax_views.resized_image(source.image, spans, SIZE), expected[0], atol=1e-5
    )
    # Between two pixels, TensorFlow takes the one to which its rounding falls.
    clear = ~(between_pixels(spans[0], SIZE[0])[:, None] | between_pixels(spans[1], SIZE[1]))
    found = np.asarray(jax_views.resized_mask(source.mask, spans, shown))
    np.testing.assert_array_equal(found[clear], expected[1][clear])
    assert clear.mean() > 0.9
    np.testing.assert_allclose(jax_views.soft_view(source, spans, SIZE), expected[2], atol=1e-5)


def test_spans_are_drawn_within_the_image_and_the_view():
    length, view, scales = 50, 64, 0.5 + np.arange(60) / 30
    keys = jax.random.split(jax.random.key(0), 60)
    spans = jax.vmap(lambda scale, key: jax_views.random_span(length, view, scale, key))(
        scales, keys
    )
    for scale, start, taken, filled, place in zip(scales, *np.asarray(spans)):
        assert 0 <= start and start + taken <= length
        assert 0 <= place and place + filled <= view
        assert filled / taken == pytest.approx(scale, rel=0.04)


def coloured(strength, key, image, shown):
    augmentation = Augmentation(jitter=strength, tint=strength)
    return np.asarray(jax_views._coloured(image, shown, jax.random.key(key), augmentation))


def test_colours_change_and_what_is_not_shown_stays_black():
    image = np.zeros((8, 8, 3), np.float32)
    image[:6] = np.random.default_rng(0).uniform(0, 1, (6, 8, 3))
    shown = np.zeros((8, 8), bool)
    shown[:6] = True
    np.testing.assert_allclose(coloured(0.0, 0, image, shown), image, atol=1e-6)
    views = [coloured(0.4, key, image, shown) for key in range(8)]
    assert all(0.02 < np.abs(view - image)[:6].mean() < 0.5 for view in views)
    assert all(view.min() >= 0 and view.max() <= 1 and not view[6:].any() for view in views)


# === Batches ===


class InMemory(Dataset):
    """A data set of arrays; a sample's file name is its number."""

    def __init__(self, pairs):
        samples = tuple(Sample(Path(str(i)), Path(str(i))) for i in range(len(pairs)))
        super().__init__("memory", LABELS, {"train": samples})
        object.__setattr__(self, "pairs", pairs)

    def read_pair(self, sample):
        return Pair(*self.pairs[int(sample.image.name)], ())


def numbered(count):
    """Samples whose every pixel has ten times the sample's number for red, green and blue."""
    return [(np.full((*SIZE, 3), 10 * i, np.uint8), np.zeros(SIZE, np.uint8)) for i in range(count)]


def make(pairs, batch_size, seed=0, augmentation=PLAIN, **options):
    dataset = InMemory(pairs)
    return ResidentPipeline(
        dataset, dataset.split("train"), SIZE, batch_size, seed, augmentation, **options
    )


def shown_in(pipeline, numbers):
    """Which samples of `numbered` batches show."""
    sources = jax.device_put(pipeline.sources())
    batch = jax.jit(lambda number: pipeline.batch(sources, number))
    images = np.array([batch(number)[0] for number in numbers])
    return (images[:, :, 0, 0, 0] * 255 / 10).round().astype(int)


def test_an_epoch_shows_each_sample_once_in_another_order():
    shown = shown_in(make(numbered(12), 3, seed=4), range(12)).reshape(3, 12)
    assert [sorted(order) for order in shown.tolist()] == [list(range(12))] * 3
    assert len({tuple(order) for order in shown.tolist()}) == 3


def test_seed_and_number_make_a_batch():
    rng = np.random.default_rng(0)
    pairs = [
        (rng.integers(0, 256, (40, 70, 3), dtype=np.uint8), np.zeros((40, 70), np.uint8))
        for _ in range(4)
    ]
    batches = {}
    for seed in (0, 0, 1):
        pipeline = make(pairs, 2, seed, Augmentation())
        sources = jax.device_put(pipeline.sources())
        batch = jax.jit(lambda number, s=sources, p=pipeline: p.batch(s, number))
        for number in (0, 5):
            batches.setdefault((seed, number), []).append(np.asarray(batch(number)[0]))
    for number in (0, 5):
        np.testing.assert_array_equal(*batches[0, number])
        assert np.abs(batches[0, number][0] - batches[1, number][0]).mean() > 0.05
    assert np.abs(batches[0, 0][0] - batches[0, 5][0]).mean() > 0.05


def test_extra_images_take_the_last_rows_until_their_last_epoch(tmp_path):
    soft = SoftLabels(write_extra(tmp_path, 3) / "soft", 3)
    extra = Extra(unlabelled_images(tmp_path), soft, rows=2, num_epochs=1)
    pipeline = make(numbered(8), 4, extra=extra)
    sources = jax.device_put(pipeline.sources())
    batch = jax.jit(lambda number: pipeline.batch(sources, number))
    for number, rows in ((0, 2), (1, 2), (2, 0), (3, 0)):
        images, labels = batch(number)
        has_ids = (np.asarray(labels["class_ids"]) != VOID).all(axis=(1, 2))
        has_shares = (np.asarray(labels["shares"]).sum(axis=-1) > 0.99).any(axis=(1, 2))
        assert has_ids.tolist() == [True] * (4 - rows) + [False] * rows
        assert has_shares.tolist() == [False] * (4 - rows) + [True] * rows
        assert labels["shares"].shape == (4, SIZE[0] // SOFT_STRIDE, SIZE[1] // SOFT_STRIDE, 3)


# === Steps ===


def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(trained):
    found = trained()
    assert [row[0] for row in found["whole"]["rows"]] == [1, 2]
    assert found["parts"] == found["whole"]


def test_a_program_of_an_epoch_computes_what_single_steps_do(trained):
    whole, steps = trained()["whole"], trained()["steps"]
    for row, other in zip(whole["rows"], steps["rows"]):
        assert row == pytest.approx(other, rel=1e-4)
    for values, others in zip(whole["weights"], steps["weights"]):
        np.testing.assert_allclose(values, others, atol=2e-4)
    assert whole["rows"][1][1] < whole["rows"][0][1]


# === What is refused ===


def test_another_backend_is_refused_before_a_run_is_made(tmp_path, streets):
    options = ["--dataset", "streets", "--data-dir", str(streets), "--resident"]
    result = CliRunner().invoke(main, ["train", "--run", str(tmp_path / "run"), *options])
    assert result.exit_code == 2
    assert result.output.strip().endswith(
        "--resident trains on JAX, not on tensorflow: set KERAS_BACKEND=jax"
    )
    assert not (tmp_path / "run").exists()
