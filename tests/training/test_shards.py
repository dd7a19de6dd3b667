"""Packed data sets: the same images and class ids, whole files, and what damage says."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from dataset_layouts import write_image, write_mask
from PIL import Image

from keras_bisenet.cli import main
from keras_bisenet.data import load_dataset
from keras_bisenet.data.pipeline import TrainingPipeline
from keras_bisenet.data.shards import pack
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.label_map import LabelMap


@pytest.fixture(scope="module")
def source(streets):
    return load_dataset("streets", streets)


@pytest.fixture(scope="module")
def packed(tmp_path_factory, source):
    """The streets in files of about 20 kB, and what was counted while they were packed."""
    directory = tmp_path_factory.mktemp("packed") / "shards"
    steps = []
    files = pack(source, directory, 20_000, steps.append)
    assert sum(steps) == 14
    assert files == len(list(directory.glob("*.tfrecord")))
    return directory


def test_packing_changes_no_pixel(packed, source):
    dataset = load_dataset("shards", packed)
    assert dataset.name == "shards"
    assert list(dataset.splits) == ["train", "val", "test"]
    assert dataset.label_map.names == source.label_map.names
    assert dataset.label_map.palette == source.label_map.palette
    for split, samples in source.splits.items():
        records = dataset.split(split)
        assert [r.image.name for r in records] == [s.image.name for s in samples]
        for record, sample in zip(records, samples):
            for ours, theirs in zip(dataset.read(record), source.read(sample)):
                np.testing.assert_array_equal(ours, theirs)
        class_ids = source.read(samples[0])[1]
        np.testing.assert_array_equal(dataset.read_raw(records[0]), class_ids)


def test_training_sees_the_same_batches(packed, source):
    dataset = load_dataset("shards", packed)
    batches = [
        next(iter(TrainingPipeline(d, d.split("train"), (64, 96), 4, seed=3).batches(5)))
        for d in (dataset, source)
    ]
    for ours, theirs in zip(*batches):
        np.testing.assert_array_equal(ours, theirs)


def test_any_reader_of_tfrecords_reads_them(packed, source):
    files = sorted(packed.glob("train-*.tfrecord"))
    count = len(files)
    assert count > 2
    names = [f"train-{i:05d}-of-{count:05d}.tfrecord" for i in range(count)]
    assert [file.name for file in files] == names
    assert json.loads((packed / "dataset.json").read_text())["splits"]["train"] == names

    text, number = tf.io.FixedLenFeature([], tf.string), tf.io.FixedLenFeature([], tf.int64)
    keys = {
        "image/encoded": text,
        "image/filename": text,
        "image/format": text,
        "image/height": number,
        "image/width": number,
        "image/channels": number,
        "image/segmentation/class/encoded": text,
        "image/segmentation/class/format": text,
    }
    samples = source.split("train")
    records = list(tf.data.TFRecordDataset([str(file) for file in files]))
    assert len(records) == len(samples)
    for record, sample in zip(records, samples):
        example = tf.io.parse_single_example(record, keys)
        image, class_ids = source.read(sample)
        assert example["image/encoded"] == sample.image.read_bytes()
        assert example["image/filename"] == sample.image.name.encode()
        assert example["image/format"] == b"png"
        size = [int(example[f"image/{side}"]) for side in ("height", "width", "channels")]
        assert tuple(size) == image.shape
        decoded = tf.io.decode_png(example["image/segmentation/class/encoded"])
        np.testing.assert_array_equal(decoded[..., 0], class_ids)


def test_jpegs_are_not_encoded_again(tmp_path, source):
    folder = tmp_path / "jpegs"
    for split in ("train", "val", "test"):
        (folder / split).mkdir(parents=True)
        (folder / f"{split}annot").mkdir()
        image, class_ids = source.read(source.split(split)[0])
        Image.fromarray(image).save(folder / split / "a.jpg")
        Image.fromarray(np.where(class_ids == 255, 11, class_ids)).save(
            folder / f"{split}annot" / "a.png"
        )
    jpegs = load_dataset("streets", folder)
    pack(jpegs, tmp_path / "shards")
    dataset = load_dataset("shards", tmp_path / "shards")
    (record,) = dataset.split("val")
    for ours, theirs in zip(dataset.read(record), jpegs.read(jpegs.split("val")[0])):
        np.testing.assert_array_equal(ours, theirs)
    (data,) = tf.data.TFRecordDataset(str(record.image.parent))
    values = tf.train.Example.FromString(data.numpy()).features.feature
    assert values["image/encoded"].bytes_list.value[0] == (folder / "val/a.jpg").read_bytes()
    assert values["image/format"].bytes_list.value[0] == b"jpeg"


def test_deep_images_are_packed_with_what_is_white(tmp_path):
    """A dark image among bright ones stays dark."""
    for number, largest in enumerate((4095, 200)):
        write_mask(tmp_path / "data" / "masks" / f"{number}.png", (0, 1))
        (tmp_path / "data" / "images").mkdir(exist_ok=True)
        values = np.full((32, 48), largest, np.uint16)
        Image.fromarray(values).save(tmp_path / "data" / "images" / f"{number}.png")
    pack(load_dataset("folder", tmp_path / "data"), tmp_path / "shards")
    dataset = load_dataset("shards", tmp_path / "shards")
    records = [record for records in dataset.splits.values() for record in records]
    largest = {record.image.stem: int(dataset.read(record)[0].max()) for record in records}
    assert largest == {"0": 255, "1": round(200 * 255 / 4095)}
    assert [int(dataset.read_image(r).max()) for r in records] == [
        largest[r.image.stem] for r in records
    ]

    described = json.loads((tmp_path / "shards" / "dataset.json").read_text())
    del described["image_range"]  # as it was packed before
    (tmp_path / "shards" / "dataset.json").write_text(json.dumps(described))
    assert load_dataset("shards", tmp_path / "shards").image_range is None


def test_the_command(tmp_path, streets):
    out = tmp_path / "shards"
    options = ["dataset", "pack", "--dataset", "streets", "--data-dir", str(streets)]
    result = CliRunner().invoke(main, [*options, "-o", str(out)])
    assert result.output == f"14 images in 3 files: {out} (--dataset shards)\n"
    assert len(load_dataset("shards", out).split("train")) == 8
    result = CliRunner().invoke(main, [*options, "-o", str(out)])
    assert (result.exit_code, result.output) == (
        2,
        f"Error: {out}: something is here already: choose another folder\n",
    )


# === What goes wrong ===


def test_packing_that_fails_leaves_nothing(tmp_path, source, monkeypatch):
    read = type(source).read
    bad = source.split("val")[1]

    def read_or_fail(dataset, sample):
        if sample == bad:
            raise UserError(f"{sample.image}: a damaged image: copy it again")
        return read(dataset, sample)

    monkeypatch.setattr(type(source), "read", read_or_fail)
    with pytest.raises(UserError, match=f"^{bad.image}: a damaged image: copy it again$"):
        pack(source, tmp_path / "shards")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def copied(tmp_path, packed):
    """A copy that may be damaged."""
    for path in packed.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def message_of(directory) -> str:
    with pytest.raises(UserError) as caught:
        dataset = load_dataset("shards", directory)
        for record in dataset.split("train"):
            dataset.read(record)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_truncated_file_is_named_before_it_is_read(copied):
    path = sorted(copied.glob("train-*.tfrecord"))[1]
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-100])
    assert message_of(copied) == (
        f"{path}: a damaged file ({size - 100} bytes, not {size}): copy it again"
    )


def test_a_changed_byte_is_found(copied):
    path = sorted(copied.glob("train-*.tfrecord"))[0]
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    expected = rf"{re.escape(str(path))}: a damaged file \(record street_\d+\.png\): copy it again"
    assert re.fullmatch(expected, message_of(copied))


def test_missing_files_are_named(copied):
    path = sorted(copied.glob("train-*.tfrecord"))[0]
    cure = "pack the data set again (keras-bisenet dataset pack), or copy all of it"
    path.unlink()
    assert message_of(copied) == f"{path}: there is no such file: {cure}"
    path = copied / "dataset.json"
    path.unlink()
    assert message_of(copied) == f"{path}: there is no such file: {cure}"


def test_damaged_descriptions_are_named(copied):
    index = copied / "train.index.npy"
    data = index.read_bytes()
    for damaged in (b"no index", data[:-20]):
        index.write_bytes(damaged)
        assert message_of(copied) == f"{index}: a damaged index: copy it again"
    np.save(index, np.zeros(3))
    assert message_of(copied) == f"{index}: a damaged index: copy it again"

    index.write_bytes(data)
    path = copied / "dataset.json"
    no_splits = {"label_map": LabelMap(("a",), ((0, 0, 0),)).to_json()}
    no_range = {**json.loads(path.read_text()), "image_range": "white"}
    for text in ("no JSON", "[]", "{}", json.dumps(no_splits), json.dumps(no_range)):
        path.write_text(text)
        assert message_of(copied) == (f"{path}: no description of a packed data set: copy it again")


def test_a_file_in_the_way_is_not_touched(tmp_path, source):
    path = tmp_path / "shards"
    path.write_text("mine")
    with pytest.raises(UsageError, match="something is here already"):
        pack(source, path)
    assert path.read_text() == "mine"


def test_names_that_are_no_utf_8(tmp_path):
    """As unzip leaves those of another system: they are kept, shown and packed."""
    for number in range(3):
        name = os.fsdecode("中文".encode("gbk")) + str(number)
        write_image(tmp_path / "data" / "images" / f"{name}.png", number)
        write_mask(tmp_path / "data" / "masks" / f"{name}.png", (0, 1))
    dataset = load_dataset("folder", tmp_path / "data")
    assert pack(dataset, tmp_path / "packed") == 2
    packed = load_dataset("shards", tmp_path / "packed")
    for split, samples in dataset.splits.items():
        for one, two in zip(samples, packed.split(split)):
            assert one.image.name == two.image.name
            np.testing.assert_array_equal(dataset.read(one)[0], packed.read(two)[0])
    for arguments in (
        ["--dataset", "folder", "--data-dir", tmp_path / "data", "--page", tmp_path / "a.html"],
        ["--dataset", "shards", "--data-dir", tmp_path / "packed", "--json", tmp_path / "a.json"],
    ):
        result = CliRunner().invoke(main, ["dataset", "check", *map(str, arguments)])
        assert result.exit_code == 0, result.output
    assert (tmp_path / "a.html").read_bytes() and (tmp_path / "a.json").read_bytes()
