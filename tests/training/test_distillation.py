"""Soft labels, teachers and extra images: values, geometry, and what is refused."""

from __future__ import annotations

import dataclasses
import io
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

from keras_bisenet.cli import main
from keras_bisenet.cli.train import check_before_work
from keras_bisenet.data import load_dataset
from keras_bisenet.data.augmentation import SOFT_STRIDE, Augmentation
from keras_bisenet.data.pipeline import TrainingPipeline
from keras_bisenet.data.shards import pack
from keras_bisenet.data.soft_labels import SoftLabels, in_bytes, unlabelled_images
from keras_bisenet.data.tensorflow_views import random_view
from keras_bisenet.data.training_samples import Extra
from keras_bisenet.errors import UserError
from keras_bisenet.imaging.reading import image_size, read_image
from keras_bisenet.label_map import VOID, LabelMap
from keras_bisenet.models import build_model
from keras_bisenet.segmenters import open_segmenter
from keras_bisenet.training import distillation as distillation_module
from keras_bisenet.training.config import TrainingConfig, make_config
from keras_bisenet.training.distillation import check_sources, open_sources
from keras_bisenet.training.evaluation import KerasSegmenter
from keras_bisenet.training.losses import cross_entropy, distillation, over_outputs
from keras_bisenet.training.run import Run, configured_dataset
from keras_bisenet.training.saving import load_model, save_model
from keras_bisenet.training.teacher import open_teacher

# === The loss ===


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def test_the_divergence_by_hand():
    shares = np.array([[[[0.75, 0.25], [0.0, 0.0]]]], np.float32)  # the second has no label
    logits = np.array([[[[0.0, 0.0], [5.0, -5.0]]]], np.float32)
    expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert float(distillation()(shares, logits)) == pytest.approx(expected, rel=1e-6)
    assert float(distillation(weight=3.0)(shares, logits)) == pytest.approx(3 * expected, rel=1e-6)
    agreeing = np.log(np.array([[[[0.75, 0.25]]]], np.float32))
    assert float(distillation()(shares[:, :, :1], agreeing)) == pytest.approx(0, abs=1e-7)
    assert float(distillation()(0 * shares, logits)) == 0


def test_temperature_softens_both_and_keeps_the_scale():
    teacher, student = np.array([2.0, 0.0, -1.0]), np.array([0.5, 0.25, 0.0])
    p, q = softmax(teacher / 2), softmax(student / 2)
    expected = 4 * (p * np.log(p / q)).sum()
    shares = softmax(teacher).astype(np.float32).reshape(1, 1, 1, 3)
    found = distillation(temperature=2.0)(shares, student.reshape(1, 1, 1, 3))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_class_weights_count_in_proportion_to_the_shares():
    shares = np.array([[[[1.0, 0.0], [0.5, 0.5]]]], np.float32)
    logits = np.zeros((1, 1, 2, 2), np.float32)
    # Weights 1 and (1 + 3) / 2; the losses are log 2 and 0.
    found = distillation(class_weights=[1, 3])(shares, logits)
    assert float(found) == pytest.approx(np.log(2) / 3, rel=1e-6)


def test_hard_and_soft_labels_meet_every_output_at_its_stride():
    ids = np.full((1, 16, 16), VOID, np.int32)
    shares = np.zeros((1, 4, 4, 2), np.float32)
    shares[..., 0] = 1
    outputs = [np.zeros((1, 16 // stride, 16 // stride, 2), np.float32) for stride in (8, 8, 1)]
    objective = over_outputs(cross_entropy, (8, 8, 1), (2, 8, 1), distillation(), SOFT_STRIDE)
    labels = {"class_ids": ids, "shares": shares}
    assert float(objective(labels, outputs)) == pytest.approx(3 * np.log(2), rel=1e-6)
    ids[:] = 1
    assert float(objective(labels, outputs)) == pytest.approx(6 * np.log(2), rel=1e-6)


@pytest.mark.parametrize(("own", "wanted"), [(8, 1), (8, 2), (8, 8), (1, 1)])
def test_soft_labels_pull_to_no_side(own, wanted):
    """Symmetric shares of a symmetric answer have a symmetric gradient."""
    ids = np.full((1, 64, 64), VOID, np.int32)
    shares = np.zeros((1, 16, 16, 2), np.float32)
    shares[:, :, 6:10, 1] = 1
    shares[..., 0] = 1 - shares[..., 1]
    objective = over_outputs(cross_entropy, (own,), (wanted,), distillation(), SOFT_STRIDE)
    logits = tf.zeros((1, 64 // own, 64 // own, 2))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = objective({"class_ids": ids, "shares": shares}, [logits])
    slopes = tape.gradient(loss, logits).numpy()[0, :, :, 1].sum(axis=0)
    np.testing.assert_allclose(slopes, slopes[::-1], atol=1e-7)
    assert slopes.min() < -1e-3


# === Views ===


def blocks():
    """An image of 60x90 whose classes are blocks of 15 pixels, and its shares at a third."""
    classes = np.random.default_rng(0).integers(0, 5, (4, 6)).astype(np.uint8)
    mask = classes.repeat(15, axis=0).repeat(15, axis=1)
    image = np.repeat(mask[..., None] * 50, 3, axis=-1)
    small = classes.repeat(5, axis=0).repeat(5, axis=1)
    return image, mask, np.eye(5, dtype=np.uint8)[small] * 15


def test_shares_go_where_the_mask_goes():
    image, mask, shares = blocks()
    augmentation = Augmentation(scale=(0.5, 2.0), stretch=0.2)
    agree, outside = [], 0
    for number in range(12):
        seed = tf.constant([7, number])
        _, labels, soft = random_view(image, mask, (64, 96), seed, augmentation, shares)
        _, alone = random_view(image, mask, (64, 96), seed, augmentation)
        np.testing.assert_array_equal(labels, alone)
        labels, soft = labels.numpy(), soft.numpy()
        assert soft.shape == (16, 24, 5)
        total = soft.sum(axis=-1)
        middle = labels[SOFT_STRIDE // 2 :: SOFT_STRIDE, SOFT_STRIDE // 2 :: SOFT_STRIDE]
        np.testing.assert_allclose(total[total > 0], 1, rtol=1e-5)
        # Cells that lie wholly in the image, or wholly outside.
        cells = labels.reshape(16, 4, 24, 4)
        is_void = (cells == VOID).all(axis=(1, 3))
        is_image = (cells != VOID).all(axis=(1, 3))
        assert (total[is_void] == 0).all() and (total[is_image] > 0).all()
        outside += is_void.sum()
        sure = is_image & (soft.max(axis=-1) > 0.9)
        agree.append((soft.argmax(axis=-1)[sure] == middle[sure]).mean())
    assert outside > 100
    assert min(agree) > 0.97


# === Files ===


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "images" / "a.jpg"
    path.parent.mkdir()
    Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(path)
    return path


SHARES = np.array([[[15, 0], [5, 10], [0, 0]], [[0, 15], [15, 0], [3, 12]]], np.uint8)


def test_every_format_says_the_same(tmp_path, picture):
    soft = SoftLabels(tmp_path / "soft", 2)
    (tmp_path / "soft").mkdir()
    path = tmp_path / "soft" / "a.npz"
    planes = np.concatenate([SHARES[..., 0], SHARES[..., 1]])
    expected = SHARES / np.maximum(SHARES.sum(axis=-1, keepdims=True), 1)
    for write in (
        lambda: np.savez_compressed(path, p=SHARES),
        lambda: np.savez(path, other=SHARES.astype(np.float64) / 15),
        lambda: np.savez(path, p=(SHARES / 15).astype(np.float16), size=np.array(3)),
        lambda: soft.write(picture, SHARES),
        lambda: Image.fromarray(planes).save(path.with_suffix(".png")),
        lambda: Image.fromarray(planes.astype(np.uint16) * 4000).save(path.with_suffix(".png")),
    ):
        write()
        soft.check([picture])
        found = soft.read(picture).astype(float)
        found /= np.maximum(found.sum(axis=-1, keepdims=True), 1)
        np.testing.assert_allclose(found, expected, atol=1 / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_has_the_size_that_is_seen(tmp_path, orientation):
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (96, 64)).save(path, exif=exif)
    height, width, _ = read_image(path).shape
    assert image_size(path) == (height, width)
    soft = SoftLabels(tmp_path, 2)
    soft.write(path, np.zeros((height // 2, width // 2, 2), np.uint8))
    soft.check([path])
    assert soft.read(path).shape == (height // 2, width // 2, 2)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"p": np.zeros((2, 3, 4), np.uint8)}, "2x3x4 is not h x w x 2"),
        ({"p": np.zeros((2, 3), np.uint8)}, "2x3 is not h x w x 2"),
        ({"p": np.zeros((3, 2, 2), np.uint8)}, "3x2 is no size of an image of 8x12"),
        ({"q": SHARES, "r": SHARES}, "it has no array 'p'"),
        (b"no zip", "File is not a zip file"),
        (np.zeros((5, 3), np.uint8), "5 rows of L are not 2 planes of grey"),
    ],
)
def test_bad_files_are_named_before_work(tmp_path, picture, content, reason):
    soft = SoftLabels(tmp_path, 2)
    path = tmp_path / "a.npz"
    if isinstance(content, dict):
        np.savez(path, **content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path = tmp_path / "a.png"
        Image.fromarray(content).save(path)
    with pytest.raises(UserError) as caught:
        soft.check([picture])
    assert str(caught.value) == (
        f"{path}: no soft labels ({reason}): write it again as docs/training.md says"
    )


def test_files_that_are_damaged_within(tmp_path, picture):
    soft = SoftLabels(tmp_path, 2)
    path = tmp_path / "a.npz"
    soft.write(picture, np.random.default_rng(0).integers(0, 9, (40, 60, 2)).astype(np.uint8))
    whole = path.read_bytes()
    start = whole.index(b"p.npy") + 60
    header = io.BytesIO()
    np.save(header, SHARES)
    for content in (whole[:start] + bytes(200) + whole[start + 200 :], b"", header.getvalue()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"^{path}: no soft labels "):
            soft.read(picture)
    with zipfile.ZipFile(path, "w") as archive:  # a header that is no Python
        archive.writestr("p.npy", header.getvalue().replace(b"}", b"("))
    for look in (soft.read, lambda image: soft.check([image])):
        with pytest.raises(UserError, match=f"^{path}: no soft labels "):
            look(picture)


def test_shares_below_zero_and_no_numbers_are_refused():
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="a share is negative, or no number"):
            in_bytes(np.full((1, 1, 2), wrong))


def test_images_that_share_a_name_have_files_of_their_own(tmp_path):
    paths = ["train/a.png", "train/b.png", "val/a.png", "val/a.jpg"]
    images = [tmp_path / path for path in paths]
    soft = SoftLabels.of(images, tmp_path / "soft", 2)
    files = ["train/a.png.npz", "b.npz", "val/a.png.npz", "val/a.jpg.npz"]
    assert [soft.path(image) for image in images] == [tmp_path / "soft" / file for file in files]
    alone = SoftLabels.of(images[:2], tmp_path / "soft", 2)
    assert alone.path(images[0]) == tmp_path / "soft" / "a.npz"


# === Batches ===


@pytest.fixture(scope="module")
def extra_folder(tmp_path_factory, streets):
    """The test images as extra ones, with their masks as soft labels: all that is void is none."""
    folder = tmp_path_factory.mktemp("extra")
    dataset = load_dataset("streets", streets)
    soft = SoftLabels(folder / "soft", 11)
    (folder / "images").mkdir()
    for sample in dataset.split("test"):
        shutil.copy(sample.image, folder / "images")
        _, mask = dataset.read(sample)
        soft.write(sample.image, np.eye(256, 11, dtype=np.uint8)[mask] * 15)
    return folder


def test_extra_images_take_the_last_rows_of_the_first_epochs(streets, extra_folder):
    dataset = load_dataset("streets", streets)
    still = Augmentation(scale=(1.0, 1.0), flip=False, jitter=0.0)
    extra = Extra(unlabelled_images(extra_folder), SoftLabels(extra_folder / "soft", 11), 1, 2)
    arguments = (dataset, dataset.split("train"), (64, 96), 4, 3, still)
    plain = TrainingPipeline(*arguments).batches().as_numpy_iterator()
    mixed = TrainingPipeline(*arguments, extra=extra)
    assert mixed.preload()
    seen = []
    batches = mixed.batches().as_numpy_iterator()
    for number in range(6):
        images, labels = next(batches)
        expected, ids = next(plain)
        rows = 3 if number < 4 else 4  # two epochs of two batches
        np.testing.assert_array_equal(images[:rows], expected[:rows])
        np.testing.assert_array_equal(labels["class_ids"][:rows], ids[:rows])
        assert not labels["shares"][:rows].any()
        if rows == 3:
            assert (labels["class_ids"][3] == VOID).all()
            assert labels["shares"][3].any()
            seen.append(images[3].tobytes())
    assert len(set(seen)) == 3  # all three, before one comes again
    resumed = mixed.batches(1).as_numpy_iterator()
    np.testing.assert_array_equal(next(resumed)[0][3].tobytes(), seen[2])


def test_folders_among_extra_images_are_named_and_left_out(tmp_path, streets, extra_folder, caplog):
    folder = shutil.copytree(extra_folder, tmp_path / "extra")
    for name in ("day", "night"):
        (folder / "images" / name).mkdir()
    options = {"dataset": "streets", "data_dir": str(streets), "size": "64x96"}
    config = make_config(TrainingConfig, {**options, "extra": str(folder)}, "a test")
    _, extra = open_sources(config, Run(tmp_path / "run"), load_dataset("streets", streets))
    assert [sample.image.parent.name for sample in extra.samples] == ["images"] * 3
    (told,) = (record.getMessage() for record in caplog.records)
    assert told == f"{folder}: left out the folders in it: day, night"


# === Teachers ===


def test_a_run_teaches_what_it_answers(float_run, streets):
    dataset = load_dataset("streets", streets)
    teach = open_teacher(float_run.path, dataset.label_map, (64, 96))
    segment = KerasSegmenter(load_model(float_run.model_file), float_run.config.size).segment
    for sample in dataset.split("val"):
        image, _ = dataset.read(sample)
        shares = teach(image)
        assert (shares.shape, shares.dtype) == ((32, 48, 11), np.uint8)
        assert shares.sum(axis=-1).min() > 245  # rounded to parts of 255
        same = shares.argmax(axis=-1) == segment(image)[::2, ::2]
        assert same.mean() > 0.95


def test_a_file_in_a_run_has_the_classes_and_the_size_of_the_run(
    tmp_path, streets, untrained, tiny, capsys, monkeypatch
):
    monkeypatch.setattr("keras_bisenet.data.problems._printed", set())
    labels = load_dataset("streets", streets).label_map
    turned = LabelMap(labels.names[::-1], labels.palette[::-1])
    run = Run.create(tmp_path / "run", tiny(size="32x64"), turned)
    shutil.copy(untrained, run.model_file)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    answers = [
        open_teacher(path, labels, (64, 96))(image)
        for path in (run.path, run.model_file, untrained)
    ]
    np.testing.assert_array_equal(*answers[:2])
    assert (answers[1] != answers[2]).any()
    lone = open_teacher(untrained, labels, (32, 64))(image)
    np.testing.assert_array_equal(answers[1], lone[..., ::-1])
    told = [line for line in capsys.readouterr().err.splitlines() if "Warning" in line]
    message = "the teacher names no classes: they are taken by number"
    assert told == [f"Warning: {untrained}: {message}"]


def test_a_tflite_file_teaches_as_its_run_does(float_run, float_file, streets):
    dataset = load_dataset("streets", streets)
    teachers = [
        open_teacher(path, dataset.label_map, (64, 96)) for path in (float_run.path, float_file)
    ]
    image, _ = dataset.read(dataset.split("val")[0])
    ours, theirs = (teach(image).astype(int) for teach in teachers)
    assert np.abs(ours - theirs).mean() < 1


@pytest.fixture(scope="module")
def untrained(tmp_path_factory, tiny):
    """A teacher's file that names no classes."""
    path = tmp_path_factory.mktemp("teacher") / "untrained.keras"
    save_model(build_model("bisenetv2", 11, **tiny().model_options), path)
    return path


def test_training_and_validation_images_of_one_name_have_their_own_answers(
    tmp_path, streets, untrained, tiny
):
    config = tiny(teacher=str(untrained), train_on_val=True)
    dataset = configured_dataset(config)
    soft, _ = open_sources(config, Run(tmp_path / "first"), dataset)
    samples = dataset.split("train")
    assert len({soft.path(sample.image) for sample in samples}) == len(samples) == 11
    teach = open_teacher(untrained, dataset.label_map, config.size)
    for sample in (samples[0], samples[-1]):
        np.testing.assert_array_equal(soft.read(sample.image), teach(dataset.read_image(sample)))
    # The user's files are sought by the same names.
    line = refused(tmp_path, streets, "--soft-labels", tmp_path, "--train-on-val")[1]
    assert line.startswith(f"{tmp_path}/") and "/train/street_00000.png.npz: no such soft" in line


def test_a_teacher_that_has_answered_is_not_needed_any_more(tmp_path, untrained, tiny):
    gone = tmp_path / "teacher.keras"
    config = tiny(teacher=str(gone), weights=str(gone))
    dataset = configured_dataset(config)
    run = Run.create(tmp_path / "run", config, dataset.label_map)
    shutil.copy(untrained, gone)
    open_sources(config, run, dataset)
    run.write_metrics([{"epoch": 1, "val_miou": 0.5}])
    gone.unlink()
    check_before_work(config, run)
    soft, _ = open_sources(config, run, dataset)
    soft.path(dataset.split("train")[3].image).unlink()
    with pytest.raises(UserError, match=f"^{gone}: no such teacher: "):
        check_before_work(config, run)


def test_packed_images_are_taught_as_those_of_the_folder(tmp_path, streets, untrained, tiny):
    dataset = load_dataset("streets", streets)
    pack(dataset, tmp_path / "packed")
    packed = load_dataset("shards", tmp_path / "packed")
    answers = []
    for name, data in (("folder", dataset), ("shards", packed)):
        run = Run(tmp_path / name)
        soft, _ = open_sources(tiny(teacher=str(untrained)), run, data)
        answers.append([soft.read(s.image, data.image_size(s)) for s in data.split("train")])
    np.testing.assert_array_equal(*answers)
    # And these answers fit the other of the two.
    check_sources(tiny(soft_labels=str(tmp_path / "shards" / "soft")), dataset)
    check_sources(tiny(soft_labels=str(tmp_path / "folder" / "soft")), packed)
    first = packed.split("train")[0]
    twice = (first, dataclasses.replace(packed.split("train")[1], image=first.image))
    packed = dataclasses.replace(packed, splits={**packed.splits, "train": twice})
    with pytest.raises(UserError, match=f"^{first.image}: 2 packed images have this name, "):
        check_sources(tiny(teacher=str(untrained)), packed)


def test_a_teacher_sees_deep_images_as_they_are_learnt(tmp_path, monkeypatch, streets, tiny):
    dataset = dataclasses.replace(load_dataset("streets", streets), image_range=4095.0)
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((64, 96), 1000, np.uint16)).save(deep)
    sample = dataclasses.replace(dataset.split("train")[0], image=deep)
    dataset = dataclasses.replace(dataset, splits={"train": (sample,)})
    seen = []

    def teach(image):
        seen.append(image)
        return np.zeros((32, 48, 11), np.uint8)

    monkeypatch.setattr(distillation_module, "check_teacher", lambda *_: None)
    monkeypatch.setattr(distillation_module, "open_teacher", lambda *_: teach)
    open_sources(tiny(teacher="any"), Run(tmp_path / "run"), dataset)
    np.testing.assert_array_equal(seen, [dataset.read_image(sample)])
    assert (seen[0] == 62).all()


def test_deep_extra_images_are_scaled_alike(tmp_path, monkeypatch, capsys, streets, tiny):
    """By the teacher and in training: a dark image among bright ones stays dark."""
    for name, largest in (("bright", 4095), ("night", 200)):
        (tmp_path / "more").mkdir(exist_ok=True)
        image = Image.fromarray(np.full((64, 96), largest, np.uint16))
        image.save(tmp_path / "more" / f"{name}.png")
    seen = {}

    def teach(image):
        seen[int(image.max())] = image.shape
        return np.ones((32, 48, 11), np.uint8)

    monkeypatch.setattr("keras_bisenet.data.problems._printed", set())
    monkeypatch.setattr(distillation_module, "check_teacher", lambda *_: None)
    monkeypatch.setattr(distillation_module, "open_teacher", lambda *_: teach)
    config = tiny(teacher="any", extra=str(tmp_path / "more"), extra_share=0.25)
    dataset = load_dataset("streets", streets)
    soft, extra = open_sources(config, Run(tmp_path / "run"), dataset)
    assert {255, 12} <= set(seen)
    assert capsys.readouterr().err.splitlines()[0] == (
        f"Warning: {tmp_path / 'more'}: the images' values reach 4095, so 4095 is taken for white: "
        "save them with 8 bits per channel if that is not meant"
    )
    still = Augmentation(scale=(1.0, 1.0), flip=False, jitter=0.0)
    arguments = (dataset, dataset.split("train"), (64, 96), 4, 3, still)
    batches = TrainingPipeline(*arguments, soft=soft, extra=extra).batches().as_numpy_iterator()
    rows = [next(batches)[0][3] for _ in range(2)]
    assert sorted(round(float(row.max() * 255)) for row in rows) == [12, 255]


# === What is refused, before a run directory is made ===


def refused(tmp_path, streets, *options):
    arguments = ["train", "--dataset", "streets", "--data-dir", streets, "--size", "64x96"]
    arguments += ["--run", tmp_path / "run", *options]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert not (tmp_path / "run").exists()
    assert result.output.startswith("Error: ") and result.output.count("\n") == 1
    return result.exit_code, result.output.removeprefix("Error: ").strip()


def test_sources_that_are_missing(tmp_path, streets):
    (tmp_path / "soft").mkdir()
    assert refused(tmp_path, streets, "--soft-labels", tmp_path / "soft") == (
        1,
        f"{tmp_path}/soft/street_00000.npz: no such soft labels, of street_00000.png and 7 more: "
        "write a file for each image, or take another folder",
    )
    assert refused(tmp_path, streets, "--extra", tmp_path / "more") == (
        1,
        f"{tmp_path}/more: there is no such folder",
    )
    code, line = refused(tmp_path, streets, "--extra", tmp_path)
    assert code == 1 and line.startswith(f"{tmp_path}: no images here (")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "soft").rmdir()
    assert refused(tmp_path, streets, "--extra", tmp_path) == (
        2,
        f"{tmp_path}/soft: extra images need soft labels in such a folder, or a --teacher",
    )
    assert refused(tmp_path, streets, "--teacher", tmp_path / "no.keras") == (
        1,
        f"{tmp_path}/no.keras: no such teacher: give a run, a .keras or a .tflite file",
    )
    assert refused(tmp_path, streets, "--teacher", tmp_path / "a.png") == (
        2,
        f"{tmp_path}/a.png: a teacher is a run, a .keras or a .tflite file",
    )


def test_choices_that_make_no_sense(tmp_path, streets):
    both = ("--soft-labels", tmp_path, "--teacher", tmp_path)
    assert refused(tmp_path, streets, *both) == (
        2,
        "train: teacher and soft_labels: give one of them",
    )
    assert refused(tmp_path, streets, "--extra", tmp_path, "--extra-share", 1) == (
        2,
        "train: extra_share: 1.0 of a batch of 8 is 8: leave images of both kinds",
    )


def test_a_teacher_of_other_classes(tmp_path, streets, tiny):
    path = tmp_path / "three.keras"
    save_model(build_model("bisenetv2", 3, **tiny().model_options), path)
    assert refused(tmp_path, streets, "--teacher", path) == (
        1,
        f"{path}: the teacher tells 3 classes apart, the data set has 11: a teacher has the same "
        "classes",
    )


def test_files_that_are_no_teachers(tmp_path, streets, tiny):
    import keras

    boosted, classifier = tmp_path / "boosted.keras", tmp_path / "classifier.keras"
    options = {**tiny().model_options, "boosters": True}
    save_model(build_model("bisenetv2", 11, **options), boosted)
    image = keras.Input((None, None, 3))
    answer = keras.layers.Dense(11)(keras.layers.GlobalAveragePooling2D()(image))
    save_model(keras.Model(image, answer), classifier)
    expected = {
        boosted: f"{boosted}: a model of 5 outputs, as networks have in training: ",
        classifier: f"{classifier}: it answers with an array of 2 axes, not with logits ",
    }
    for path, message in expected.items():
        code, line = refused(tmp_path, streets, "--teacher", path)
        assert code == 1 and line.startswith(message)
        with pytest.raises(UserError, match=f"^{message}"):
            open_segmenter(path, load_dataset("streets", streets).label_map, size=(64, 96))


def test_a_teacher_of_one_size_is_asked_at_that_size(tmp_path, streets, untrained):
    import keras

    path = tmp_path / "fixed.keras"
    image = keras.Input((32, 64, 3))
    save_model(keras.Model(image, load_model(untrained)(image)), path)
    labels = load_dataset("streets", streets).label_map
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    fixed = open_teacher(path, labels, (64, 96))(picture)
    np.testing.assert_array_equal(fixed, open_teacher(untrained, labels, (32, 64))(picture))


def test_a_quantized_run_is_no_teacher(tmp_path, streets, ptq_run):
    code, line = refused(tmp_path, streets, "--teacher", ptq_run.path)
    assert code == 2 and line.startswith(f"{ptq_run.path}: a quantized run: give the float run")
