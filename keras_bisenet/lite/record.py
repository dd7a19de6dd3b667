"""The deployment record of a `.tflite` file: how to feed it, what it answers, how good it is.

It lies as `keras_bisenet.json` in a ZIP archive behind the flatbuffer, which is the TFLite
metadata standard's way of packing associated files. This is its one reader: whatever the file
claims, no more is unpacked than any record takes.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
import zlib
from dataclasses import dataclass

from keras_bisenet.errors import UserError
from keras_bisenet.label_map import LabelMap
from keras_bisenet.lite.model_file import DAMAGE, MalformedError, ModelFile, read_model_file
from keras_bisenet.version import __version__

RECORD_FILE = "keras_bisenet.json"

_FORMAT = 1
_MAX_SIDE = 1 << 16
# More than any record takes: 255 classes with long names are 30 kB.
_MAX_PACKED_SIZE = 1 << 20
_ZIP_DAMAGE = (*DAMAGE, zipfile.BadZipFile, EOFError, OSError, RuntimeError, zlib.error)


@dataclass(frozen=True)
class DeploymentRecord:
    """What a runtime needs to know of a `.tflite` file, and where the file came from.

    Attributes:
        model: The network, such as "bisenetv2".
        target: What it was built for: "cpu", "coral" or "nnapi".
        precision: "int8", "int16x8", "float16", "dynamic" or "float32".
        dataset: The data set that it was trained on.
        label_map: Names and colours of the classes that it tells apart.
        input_height: Pixels.
        input_width: Pixels.
        output_kind: "logits" for scores per class, "class_ids" for the winning class.
        output_stride: The input's sides divided by the output's.
        miou: Mean intersection over union measured on `split`, 0 to 1.
        split: The part of the data set that `miou` was measured on.
        miou_of: What `miou` was measured with where that is not what this file computes, such as
            "the float32 model at 480x640".
        input_scale: A pixel (0 to 255) stands for the real value
            `pixel * input_scale + input_offset`, which the input tensor takes quantized by its
            own scale and zero point.
        input_offset: See `input_scale`.
        input_fit: How an image of another size is brought to the input's size.
        generator: The program that made the file, and its version.
    """

    model: str
    target: str
    precision: str
    dataset: str
    label_map: LabelMap
    input_height: int
    input_width: int
    output_kind: str
    output_stride: int
    miou: float | None = None
    split: str | None = None
    miou_of: str | None = None
    input_scale: float = 1 / 255
    input_offset: float = 0.0
    input_fit: str = "scale to fit, pad right and bottom with black"
    generator: str = f"keras-bisenet {__version__}"

    def to_json(self) -> dict:
        """The record as `keras_bisenet.json` holds it."""
        return {
            "format": _FORMAT,
            "generator": self.generator,
            "model": self.model,
            "target": self.target,
            "precision": self.precision,
            "dataset": self.dataset,
            "miou": self.miou,
            "split": self.split,
            "miou_of": self.miou_of,
            "input": {
                "height": self.input_height,
                "width": self.input_width,
                "scale": self.input_scale,
                "offset": self.input_offset,
                "fit": self.input_fit,
            },
            "output": {"kind": self.output_kind, "stride": self.output_stride},
            "classes": [
                {"name": name, "color": list(color)}
                for name, color in zip(self.label_map.names, self.label_map.palette)
            ],
        }

    @classmethod
    def from_json(cls, value) -> DeploymentRecord:
        """The record that `to_json` gave `value` for.

        Raises:
            ValueError: When a field is missing or makes no sense.
        """
        version = _member(value, "format", int)
        if version != _FORMAT:
            raise ValueError(f"it is of format {version}, which this version does not read")
        image = _member(value, "input", dict)
        output = _member(value, "output", dict)
        classes = _member(value, "classes", list)
        record = cls(
            model=_member(value, "model", str),
            target=_member(value, "target", str),
            precision=_member(value, "precision", str),
            dataset=_member(value, "dataset", str),
            label_map=LabelMap(
                tuple(_member(entry, "name", str) for entry in classes),
                tuple(_color(_member(entry, "color", list)) for entry in classes),
            ),
            input_height=_member(image, "height", int),
            input_width=_member(image, "width", int),
            output_kind=_member(output, "kind", str),
            output_stride=_member(output, "stride", int),
            miou=None if value.get("miou") is None else _member(value, "miou", float),
            split=None if value.get("split") is None else _member(value, "split", str),
            miou_of=None if value.get("miou_of") is None else _member(value, "miou_of", str),
            input_scale=_member(image, "scale", float),
            input_offset=_member(image, "offset", float),
            input_fit=_member(image, "fit", str),
            generator=_member(value, "generator", str),
        )
        for size in (record.input_height, record.input_width, record.output_stride):
            if not 1 <= size <= _MAX_SIDE:
                raise ValueError(f"a size of {size} makes no sense")
        if record.output_kind not in ("logits", "class_ids"):
            raise ValueError(f"its output is of the unknown kind {record.output_kind!r}")
        if record.input_scale == 0:
            raise ValueError("its input scale is 0")
        return record


def _member(value, key: str, kind: type):
    """`value[key]`, which must be of type `kind`; a float is finite and may be written as int."""
    if not isinstance(value, dict) or key not in value:
        raise ValueError(f"it has no {key!r}")
    member = value[key]
    if kind is float and type(member) is int:
        member = float(member)
    if type(member) is not kind or (isinstance(member, float) and not math.isfinite(member)):
        raise ValueError(f"its {key!r} makes no sense")
    return member


def _color(values: list) -> tuple[int, int, int]:
    if len(values) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in values):
        raise ValueError("a class colour is not three numbers from 0 to 255")
    return tuple(values)


def read_record(source: str | os.PathLike | bytes | ModelFile) -> DeploymentRecord | None:
    """The deployment record of a `.tflite` file; None when it has none.

    Args:
        source: The file's path, its bytes, or the file as read.

    Raises:
        UserError: When the file is no TFLite model, its record is damaged, or of a later format.
    """
    model = read_model_file(source)
    try:
        packed = packed_file(model.data, RECORD_FILE)
        if packed is None:
            # The standard's metadata, or an archive without its end, still speak of it.
            if RECORD_FILE.encode() in model.data:
                raise MalformedError(f"{RECORD_FILE} is missing behind the model")
            return None
        value = json.loads(packed)
        version = value.get("format") if isinstance(value, dict) else None
        if type(version) is int and version > _FORMAT:
            raise UserError(
                f"{model.path}: its deployment record is of format {version}, which this "
                "keras-bisenet does not know: update keras-bisenet"
            )
        return DeploymentRecord.from_json(value)
    except (*DAMAGE, RecursionError) as error:
        raise damaged_metadata(model, error) from error


def damaged_metadata(model: ModelFile, error: Exception) -> UserError:
    """One line about metadata that cannot be read."""
    reason = str(error) if isinstance(error, (MalformedError, ValueError)) else "it is cut short"
    return UserError(
        f"{model.path}: its metadata is damaged ({reason}); convert, or copy, it again"
    )


def archive_behind(data: bytes) -> zipfile.ZipFile | None:
    """The archive behind a model, if there is one with something in it."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _ZIP_DAMAGE:
        return None
    return archive if archive.infolist() else None


def packed_file(data: bytes, name: str) -> bytes | None:
    """The contents of the file `name` in the archive behind a model; None if it is not there."""
    archive = archive_behind(data)
    if archive is None or name not in archive.namelist():
        return None
    entry = archive.getinfo(name)
    # The other methods decompress without a limit.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise MalformedError(f"{name} is compressed by an unknown method")
    if entry.file_size > _MAX_PACKED_SIZE:
        raise MalformedError(f"{name} is too large")
    try:
        with archive.open(entry) as file:
            return file.read(_MAX_PACKED_SIZE)
    except _ZIP_DAMAGE as error:
        raise MalformedError(f"{name} is damaged") from error
