"""Packed data sets: a few large files in place of many small ones.

    DIR/dataset.json                       classes, and what the splits consist of
    DIR/train-00000-of-00012.tfrecord      TFRecord files of tf.train.Example
    DIR/train.index.npy                    where each record lies

The records have the keys of TensorFlow's segmentation records (those of its DeepLab), so that
`tf.data.TFRecordDataset` reads them too. Here they are read in any order, through the index: a
view of a run remains a function of its number, and each host reads no more than it needs.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from keras_bisenet.data.dataset import Dataset, Pair, Sample
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.files import replacing, write_json
from keras_bisenet.imaging.reading import read_image
from keras_bisenet.label_map import LabelMap

FORMAT = 1

IMAGE = "image/encoded"
MASK = "image/segmentation/class/encoded"

# A TFRecord: the length in 8 bytes, their CRC in 4, the data, their CRC in 4.
HEADER, FOOTER = 12, 4

INDEX = [("shard", "<u4"), ("offset", "<u8"), ("length", "<u8"), ("crc32", "<u4")]
"""For each record, beside its name: the number of its file, where its data begin, their length in
bytes, and their CRC-32 (which Python computes far faster than the CRC-32C of TFRecord)."""


@dataclass(frozen=True)
class Record(Sample):
    """A sample in a TFRecord file. `image` and `mask` are the file, and a name in it.

    Args:
        offset: int. Where its data begin.
        length: int. Their bytes.
        crc32: int. Their CRC-32.
    """

    offset: int
    length: int
    crc32: int


@dataclass(frozen=True)
class ShardedDataset(Dataset):
    """A packed data set, which is read as any other."""

    def read_pair(self, sample: Record) -> Pair:
        """Reads one record.

        Raises:
            UserError: When its file is damaged.
        """
        example = _example(sample)
        image = _image(example, self.image_range)
        return Pair(image, self.label_map.class_ids(_mask(example)), ())

    def read_image(self, sample: Record) -> np.ndarray:
        """The image of one record: uint8 `[height, width, 3]`."""
        return _image(_example(sample), self.image_range)

    def image_size(self, sample: Record) -> tuple[int, int]:
        """`(height, width)` of the image of one record."""
        height, width, _ = self.read_image(sample).shape
        return height, width

    def read_raw(self, sample: Record) -> np.ndarray:
        """The mask of one record: uint8 class ids `[height, width]`."""
        return _mask(_example(sample))


def load(directory: Path, name: str, on_problem) -> Dataset:
    """Finds the data set that `pack` wrote into `directory`.

    Raises:
        UserError: When a file is missing, or is not as long as it was written.
    """
    path = directory / "dataset.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        label_map = LabelMap.from_json(described["label_map"])
        splits = {
            split: _records(directory, split, files) for split, files in described["splits"].items()
        }
        white = described.get("image_range")  # earlier ones have none
        white = None if white is None else float(white)
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename}: there is no such file: pack the data set again "
            "(keras-bisenet dataset pack), or copy all of it"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{path}: no description of a packed data set: copy it again") from error
    return ShardedDataset(name, label_map, splits, image_range=white)


def pack(
    dataset: Dataset,
    directory,
    shard_bytes: int = 256 << 20,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Writes a data set as TFRecord files, all of it or nothing.

    Images stay as they are encoded; masks become PNG of class ids, with 255 for void.

    Args:
        dataset: What to pack.
        directory: Folder to make.
        shard_bytes: int. A file that has reached this size is the last but one.
        progress: Called with 1 after each sample.

    Returns:
        The number of files.

    Raises:
        UsageError: When something is at `directory` already.
        UserError: When a sample cannot be read.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory}: something is here already: choose another folder")
    with replacing(directory) as temporary:
        temporary.mkdir()
        splits = {
            split: _write_split(dataset, split, temporary, shard_bytes, progress)
            for split in dataset.splits
        }
        labels = LabelMap(dataset.label_map.names, dataset.label_map.palette)
        described = {
            "format": FORMAT,
            "source": dataset.name,
            "label_map": labels.to_json(),
            "image_range": dataset.image_range,
            "splits": splits,
        }
        write_json(temporary / "dataset.json", described)
        if directory.exists():
            directory.rmdir()
    return sum(len(files) for files in splits.values())


# === Reading ===


def _records(directory: Path, split: str, files: Sequence[str]) -> tuple[Record, ...]:
    """The records of a split, in the order in which they were packed."""
    index_file = directory / f"{split}.index.npy"
    try:
        index = np.load(index_file)
        if [field for field in index.dtype.descr if field[0] != "name"] != INDEX:
            raise ValueError
    except (ValueError, EOFError) as error:
        raise UserError(f"{index_file}: a damaged index: copy it again") from error
    paths = [directory / file for file in files]
    for number, path in enumerate(paths):
        last = index[index["shard"] == number][-1]
        expected = int(last["offset"] + last["length"]) + FOOTER
        if path.stat().st_size != expected:
            raise UserError(
                f"{path}: a damaged file ({path.stat().st_size} bytes, not {expected}): "
                "copy it again"
            )
    return tuple(
        Record(paths[shard] / name, paths[shard] / name, *place)
        for shard, *place, name in index.tolist()
    )


def _example(record: Record):
    """The record as a `tf.train.Example`."""
    import tensorflow as tf

    path = record.image.parent
    try:
        # Opened for each record: a descriptor would not survive being sent to another process.
        with open(path, "rb", buffering=0) as file:
            file.seek(record.offset)
            data = file.read(record.length)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): copy it again") from error
    if zlib.crc32(data) != record.crc32:
        raise UserError(f"{path}: a damaged file (record {record.image.name}): copy it again")
    return tf.train.Example.FromString(data)


def _image(example, white: float | None) -> np.ndarray:
    return read_image(io.BytesIO(_bytes(example, IMAGE)), white)


def _mask(example) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(_bytes(example, MASK))))


def _bytes(example, key: str) -> bytes:
    return example.features.feature[key].bytes_list.value[0]


# === Writing ===


def _write_split(
    dataset: Dataset, split: str, directory: Path, shard_bytes: int, progress
) -> list[str]:
    """Writes the files of a split; returns their names."""
    import tensorflow as tf

    files: list[Path] = []
    index = []
    samples = dataset.split(split)
    writer, offset = None, 0
    try:
        for sample, data in zip(samples, _encoded(dataset, samples)):
            if writer is None or offset >= shard_bytes:
                if writer:
                    writer.close()
                files.append(directory / f"{split}-{len(files):05d}.tfrecord")
                writer, offset = tf.io.TFRecordWriter(str(files[-1])), 0
            writer.write(data)
            place = (offset + HEADER, len(data), zlib.crc32(data))
            index.append((len(files) - 1, *place, sample.image.name))
            offset += HEADER + len(data) + FOOTER
            if progress:
                progress(1)
    finally:
        if writer:
            writer.close()
    longest = max((len(sample.image.name) for sample in samples), default=1)
    dtype = [*INDEX, ("name", f"<U{longest}")]
    np.save(directory / f"{split}.index.npy", np.array(index, dtype))
    names = [f"{split}-{i:05d}-of-{len(files):05d}.tfrecord" for i in range(len(files))]
    for path, name in zip(files, names):
        path.rename(directory / name)
    return names


def _encoded(dataset: Dataset, samples: Sequence[Sample]) -> Iterator[bytes]:
    """The samples as serialized records. Several threads read, as far ahead as one batch."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(samples), 64):
            batch = samples[start : start + 64]
            yield from threads.map(lambda sample: _serialized(dataset, sample), batch)


def _serialized(dataset: Dataset, sample: Sample) -> bytes:
    import tensorflow as tf

    image, class_ids = dataset.read(sample)
    mask = io.BytesIO()
    Image.fromarray(class_ids).save(mask, "png")
    encoded = sample.image.read_bytes()
    values = {
        IMAGE: encoded,
        "image/filename": os.fsencode(sample.image.name),
        "image/format": (Image.open(io.BytesIO(encoded)).format or "").lower().encode(),
        "image/height": image.shape[0],
        "image/width": image.shape[1],
        "image/channels": image.shape[2],
        MASK: mask.getvalue(),
        "image/segmentation/class/format": b"png",
    }
    return tf.train.Example(
        features=tf.train.Features(feature={key: _feature(v) for key, v in values.items()})
    ).SerializeToString()


def _feature(value):
    import tensorflow as tf

    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
