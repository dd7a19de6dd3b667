"""What a `.tflite` file says about itself: how to feed it, what it answers, how good it is.

A file made here carries its `DeploymentRecord` twice, so that this project's runtime and
everybody else's need nothing but the file:

- as a ZIP archive behind the flatbuffer, with `labels.txt` and `keras_bisenet.json`. This is
  the TFLite metadata standard's way of packing associated files; `zipfile` opens the `.tflite`
  itself;
- as the standard's own flatbuffer, in the model's metadata entry "TFLITE_METADATA", for
  MediaPipe Tasks, Android Studio, Netron and others. Its layout is published as
  `mediapipe/tasks/metadata/metadata_schema.fbs` (version 1.5.0, identifier "M001", the
  continuation of the one in tflite-support), and what MediaPipe's image segmenter asks for
  beyond it as `image_segmenter_metadata_schema.fbs` ("V001").
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
import zlib
from dataclasses import dataclass

import flatbuffers
import flatbuffers.number_types
import flatbuffers.table
import numpy as np
import tflite

from keras_bisenet.errors import UserError
from keras_bisenet.label_map import LabelMap
from keras_bisenet.lite.model_file import (
    DAMAGE,
    FILE_IDENTIFIER,
    BoundedReader,
    MalformedError,
    ModelFile,
    Tensor,
    read_model_file,
)
from keras_bisenet.version import __version__

RECORD_FILE = "keras_bisenet.json"
LABELS_FILE = "labels.txt"
METADATA_ENTRY = "TFLITE_METADATA"
METADATA_IDENTIFIER = b"M001"

_FORMAT = 1
_MAX_SIDE = 1 << 16


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
    if type(member) is not kind or (kind is float and not math.isfinite(member)):
        raise ValueError(f"its {key!r} makes no sense")
    return member


def _color(values: list) -> tuple[int, int, int]:
    if len(values) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in values):
        raise ValueError("a class colour is not three numbers from 0 to 255")
    return tuple(values)


def add_metadata(model: bytes, record: DeploymentRecord) -> bytes:
    """Adds `record` to a `.tflite` file, in place of metadata that it may have.

    The result depends on nothing but the arguments: the same model and record give the same
    bytes. The model itself is kept byte for byte, in its alignment.

    Args:
        model: A `.tflite` file with one input, [1, height, width, 3], and one output.
        record: What to say of it.

    Returns:
        The file with metadata.

    Raises:
        UserError: When `model` is not a TFLite model, or one of more than 2 GB.
        ValueError: When `record` speaks of another input than the model has.
    """
    model = _without_metadata(model)
    parsed = read_model_file(model)
    if len(parsed.inputs) != 1 or len(parsed.outputs) != 1:
        raise ValueError(f"{len(parsed.inputs)} inputs and {len(parsed.outputs)} outputs, not one")
    image = parsed.inputs[0]
    if image.shape != (1, record.input_height, record.input_width, 3):
        raise ValueError(
            f"the record is of an input of {record.input_height}x{record.input_width}, "
            f"the model's is {list(image.shape)}"
        )
    archive = io.BytesIO(_with_entry(model, _model_metadata(record, image)))
    labels = "".join(" ".join(name.split()) + "\n" for name in record.label_map.names)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_STORED) as files:
        files.writestr(_zip_entry(LABELS_FILE), labels)
        files.writestr(_zip_entry(RECORD_FILE), json.dumps(record.to_json(), indent=2) + "\n")
    return archive.getvalue()


def _zip_entry(name: str) -> zipfile.ZipInfo:
    """A file in an archive, the same at any time and on any system."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix
    entry.external_attr = 0o100644 << 16
    return entry


def read_metadata(source: str | os.PathLike | bytes | ModelFile) -> DeploymentRecord | None:
    """The deployment record of a `.tflite` file; None when it has none.

    Args:
        source: The file's path, its bytes, or the file as read.

    Raises:
        UserError: When the file is no TFLite model, or its metadata is damaged.
    """
    model = source if isinstance(source, ModelFile) else read_model_file(source)
    try:
        packed = _packed_file(model.data, RECORD_FILE)
        if packed is not None:
            return DeploymentRecord.from_json(json.loads(packed))
        if RECORD_FILE in [file["name"] for file in _standard_metadata(model).get("files", ())]:
            raise MalformedError(f"{RECORD_FILE} is missing behind the model")
    except (*DAMAGE, RecursionError) as error:
        raise _damaged(model, error) from error
    return None


def read_standard_metadata(source: str | os.PathLike | bytes | ModelFile) -> dict:
    """What a `.tflite` file says of itself by the TFLite metadata standard, whoever wrote it.

    Args:
        source: The file's path, its bytes, or the file as read.

    Returns:
        Plain values: "name", "description", "version", "author", "license",
        "min_parser_version", "files", and for the main graph "inputs" and "outputs", a list
        with, for each tensor, "name", "description", "content", "mean", "std", "min", "max" and
        "files". What the file leaves out is left out; empty when it has no such metadata.

    Raises:
        UserError: When the file is no TFLite model, or its metadata is damaged.
    """
    model = source if isinstance(source, ModelFile) else read_model_file(source)
    try:
        return _standard_metadata(model)
    except DAMAGE as error:
        raise _damaged(model, error) from error


def _damaged(model: ModelFile, error: Exception) -> UserError:
    reason = str(error) if isinstance(error, (MalformedError, ValueError)) else "it is cut short"
    return UserError(
        f"{model.path}: its metadata is damaged ({reason}); convert, or copy, it again"
    )


# The standard's flatbuffer. A table's fields are numbered in the order of the schema; a union
# is two fields, its type and its value.


class _ModelMetadata:
    (
        NAME,
        DESCRIPTION,
        VERSION,
        SUBGRAPH_METADATA,
        AUTHOR,
        LICENSE,
        ASSOCIATED_FILES,
        MIN_PARSER_VERSION,
    ) = range(8)


class _SubGraphMetadata:
    INPUT_TENSOR_METADATA = 2
    OUTPUT_TENSOR_METADATA = 3
    CUSTOM_METADATA = 9


class _TensorMetadata:
    NAME, DESCRIPTION, DIMENSION_NAMES, CONTENT, PROCESS_UNITS, STATS, ASSOCIATED_FILES = range(7)


class _Content:
    PROPERTIES_TYPE, PROPERTIES, RANGE = range(3)


class _ImageProperties:
    COLOR_SPACE, DEFAULT_SIZE = range(2)


class _ImageSize:
    WIDTH, HEIGHT = range(2)


class _ValueRange:
    MIN, MAX = range(2)


class _ProcessUnit:
    OPTIONS_TYPE, OPTIONS = range(2)


class _NormalizationOptions:
    MEAN, STD = range(2)


class _Stats:
    MAX, MIN = range(2)


class _AssociatedFile:
    NAME, DESCRIPTION, TYPE = range(3)


class _CustomMetadata:
    NAME, DATA = range(2)


class _ImageSegmenterOptions:
    ACTIVATION = 0


_CONTENT_TYPES = ("none", "features", "image", "bounding boxes", "audio")
_FILE_TYPES = (
    "unknown",
    "description",
    "axis labels",
    "value labels",
    "score calibration",
    "vocabulary",
    "ScaNN index",
)
_COLOR_SPACE_RGB, _COLOR_SPACE_GRAYSCALE = 1, 2
_NORMALIZATION_OPTIONS = 1
_SOFTMAX = 2


def _model_metadata(record: DeploymentRecord, image: Tensor) -> bytes:
    """The standard's flatbuffer for a model made here."""
    subgraph = {
        _SubGraphMetadata.INPUT_TENSOR_METADATA: [_input_metadata(record, image)],
        _SubGraphMetadata.OUTPUT_TENSOR_METADATA: [_output_metadata(record)],
    }
    min_parser_version = "1.0.0"
    if record.output_kind == "logits":
        # MediaPipe's image segmenter turns scores into confidences when told to.
        options = _flatbuffer({_ImageSegmenterOptions.ACTIVATION: np.int8(_SOFTMAX)}, b"V001")
        subgraph[_SubGraphMetadata.CUSTOM_METADATA] = [
            {_CustomMetadata.NAME: "SEGMENTER_METADATA", _CustomMetadata.DATA: options}
        ]
        min_parser_version = "1.5.0"  # the first with custom metadata
    return _flatbuffer(
        {
            _ModelMetadata.NAME: record.model,
            _ModelMetadata.DESCRIPTION: _description(record),
            _ModelMetadata.VERSION: record.generator,
            _ModelMetadata.SUBGRAPH_METADATA: [subgraph],
            _ModelMetadata.ASSOCIATED_FILES: [
                _associated_file(RECORD_FILE, "Deployment record of keras-bisenet.", "description")
            ],
            _ModelMetadata.MIN_PARSER_VERSION: min_parser_version,
        },
        METADATA_IDENTIFIER,
    )


def _description(record: DeploymentRecord) -> str:
    measured = ""
    if record.miou is not None:
        of = f" ({record.miou_of})" if record.miou_of else ""
        measured = f" mIoU {record.miou:.4f} on its {record.split or 'unnamed'} split{of}."
    return (
        f"Semantic segmentation into the {record.label_map.num_classes} classes of "
        f"{record.dataset}; {record.precision}, for {record.target}.{measured}"
    )


def _input_metadata(record: DeploymentRecord, image: Tensor) -> dict:
    """The input: an RGB image, normalized by (pixel - mean) / std before quantization."""
    mean, std = 0 - record.input_offset / record.input_scale, 1 / record.input_scale
    if image.is_float:
        lowest, highest = (pixel * record.input_scale + record.input_offset for pixel in (0, 255))
    else:
        limits = np.iinfo(image.dtype.lower())
        lowest, highest = limits.min, limits.max
    size = {
        _ImageSize.WIDTH: np.uint32(record.input_width),
        _ImageSize.HEIGHT: np.uint32(record.input_height),
    }
    return {
        _TensorMetadata.NAME: "image",
        _TensorMetadata.DESCRIPTION: (
            f"RGB image of {record.input_height}x{record.input_width} (height x width) pixels. "
            f"Other sizes: {record.input_fit}."
        ),
        _TensorMetadata.CONTENT: _image_content(_COLOR_SPACE_RGB, size),
        _TensorMetadata.PROCESS_UNITS: [
            {
                _ProcessUnit.OPTIONS_TYPE: np.uint8(_NORMALIZATION_OPTIONS),
                _ProcessUnit.OPTIONS: {
                    _NormalizationOptions.MEAN: [mean],
                    _NormalizationOptions.STD: [std],
                },
            }
        ],
        _TensorMetadata.STATS: {_Stats.MAX: [highest], _Stats.MIN: [lowest]},
    }


def _output_metadata(record: DeploymentRecord) -> dict:
    """The output: one grayscale image per class, or one of class ids."""
    if record.output_kind == "logits":
        description = (
            f"Score (logit) of each class for every {record.output_stride}x"
            f"{record.output_stride} pixels of the input; the highest wins."
        )
        labels = "axis labels"
    else:
        description = "Class id of each pixel of the input."
        labels = "value labels"
    content = _image_content(_COLOR_SPACE_GRAYSCALE)
    content[_Content.RANGE] = {_ValueRange.MIN: np.int32(1), _ValueRange.MAX: np.int32(2)}
    return {
        _TensorMetadata.NAME: "segmentation_masks",
        _TensorMetadata.DESCRIPTION: description,
        _TensorMetadata.CONTENT: content,
        _TensorMetadata.ASSOCIATED_FILES: [
            _associated_file(LABELS_FILE, "Class names in the order of their ids.", labels)
        ],
    }


def _image_content(color_space: int, default_size: dict | None = None) -> dict:
    properties = {_ImageProperties.COLOR_SPACE: np.int8(color_space)}
    if default_size:
        properties[_ImageProperties.DEFAULT_SIZE] = default_size
    return {
        _Content.PROPERTIES_TYPE: np.uint8(_CONTENT_TYPES.index("image")),
        _Content.PROPERTIES: properties,
    }


def _associated_file(name: str, description: str, kind: str) -> dict:
    return {
        _AssociatedFile.NAME: name,
        _AssociatedFile.DESCRIPTION: description,
        _AssociatedFile.TYPE: np.int8(_FILE_TYPES.index(kind)),
    }


def _standard_metadata(model: ModelFile) -> dict:
    contents = model.metadata.get(METADATA_ENTRY)
    return _MetadataReader(bytes(contents)).model_metadata() if contents else {}


class _MetadataReader(BoundedReader):
    """Turns the standard's flatbuffer into plain values."""

    def __init__(self, contents: bytes):
        super().__init__(len(contents))
        if contents[4:8] != METADATA_IDENTIFIER:
            raise MalformedError(f"it is not of the format {METADATA_IDENTIFIER.decode()}")
        root = flatbuffers.table.Table(contents, 0)
        self._root = flatbuffers.table.Table(contents, root.Get(_UOFFSET, 0))

    def model_metadata(self) -> dict:
        fields = _ModelMetadata
        graphs = self._tables(self._root, fields.SUBGRAPH_METADATA)[:1]
        inputs = [
            t for g in graphs for t in self._tables(g, _SubGraphMetadata.INPUT_TENSOR_METADATA)
        ]
        outputs = [
            t for g in graphs for t in self._tables(g, _SubGraphMetadata.OUTPUT_TENSOR_METADATA)
        ]
        return _without_empty(
            name=self._string(self._root, fields.NAME),
            description=self._string(self._root, fields.DESCRIPTION),
            version=self._string(self._root, fields.VERSION),
            author=self._string(self._root, fields.AUTHOR),
            license=self._string(self._root, fields.LICENSE),
            min_parser_version=self._string(self._root, fields.MIN_PARSER_VERSION),
            files=self._files(self._root, fields.ASSOCIATED_FILES),
            inputs=[self._tensor_metadata(t) for t in inputs],
            outputs=[self._tensor_metadata(t) for t in outputs],
        )

    def _tensor_metadata(self, tensor) -> dict:
        fields = _TensorMetadata
        content = self._table(tensor, fields.CONTENT)
        stats = self._table(tensor, fields.STATS)
        mean, std = [], []
        for unit in self._tables(tensor, fields.PROCESS_UNITS):
            if self._number(unit, _ProcessUnit.OPTIONS_TYPE) == _NORMALIZATION_OPTIONS:
                options = self._table(unit, _ProcessUnit.OPTIONS)
                mean = self._floats(options, _NormalizationOptions.MEAN)
                std = self._floats(options, _NormalizationOptions.STD)
        kind = self._number(content, _Content.PROPERTIES_TYPE)
        return _without_empty(
            name=self._string(tensor, fields.NAME),
            description=self._string(tensor, fields.DESCRIPTION),
            content=_named(_CONTENT_TYPES, kind) if kind else "",
            mean=mean,
            std=std,
            min=self._floats(stats, _Stats.MIN),
            max=self._floats(stats, _Stats.MAX),
            files=self._files(tensor, fields.ASSOCIATED_FILES),
        )

    def _files(self, table, slot: int) -> list[dict]:
        return [
            {
                "name": self._string(file, _AssociatedFile.NAME),
                "description": self._string(file, _AssociatedFile.DESCRIPTION),
                "type": _named(_FILE_TYPES, self._number(file, _AssociatedFile.TYPE)),
            }
            for file in self._tables(table, slot)
        ]

    # The fields of a table by their kind. A table that is not there, None, has none.

    def _offset(self, table, slot: int) -> int:
        return table.Offset(4 + 2 * slot) if table is not None else 0

    def _number(self, table, slot: int) -> int:
        """A field of one byte: an enumeration, or a union's type."""
        offset = self._offset(table, slot)
        return table.Get(flatbuffers.number_types.Uint8Flags, table.Pos + offset) if offset else 0

    def _string(self, table, slot: int) -> str:
        offset = self._offset(table, slot)
        return self.text(table.String(table.Pos + offset)) if offset else ""

    def _table(self, table, slot: int):
        offset = self._offset(table, slot)
        if not offset:
            return None
        return flatbuffers.table.Table(table.Bytes, table.Indirect(table.Pos + offset))

    def _tables(self, table, slot: int) -> list:
        offset = self._offset(table, slot)
        if not offset:
            return []
        start, length = table.Vector(offset), table.VectorLen(offset)
        self.spend_tables(length)
        return [
            flatbuffers.table.Table(table.Bytes, table.Indirect(start + 4 * i))
            for i in range(length)
        ]

    def _floats(self, table, slot: int) -> list[float]:
        offset = self._offset(table, slot)
        if not offset or not table.VectorLen(offset):
            return []
        self.spend(table.VectorLen(offset))
        numbers = table.GetVectorAsNumpy(flatbuffers.number_types.Float32Flags, offset).tolist()
        if not all(map(math.isfinite, numbers)):
            raise MalformedError("it holds numbers that are not finite")
        return numbers


def _without_empty(**fields) -> dict:
    return {name: value for name, value in fields.items() if value}


def _named(names: tuple[str, ...], number: int) -> str:
    return names[number] if number < len(names) else f"unknown ({number})"


# Writing flatbuffers. A table is a dict from a field's number to its value: a str, bytes, a
# dict (a table), a list of dicts or of floats, or a NumPy scalar of the field's type.

_UOFFSET = flatbuffers.number_types.UOffsetTFlags
_SCALARS = {
    np.int8: flatbuffers.number_types.Int8Flags,
    np.uint8: flatbuffers.number_types.Uint8Flags,
    np.int32: flatbuffers.number_types.Int32Flags,
    np.uint32: flatbuffers.number_types.Uint32Flags,
}
# What both schemas ask of vectors of bytes (`force_align: 16`): a kernel may read a tensor's
# data where it lies.
_ALIGNMENT = 16


@dataclass(frozen=True)
class _Written:
    """Something that is in the builder already, by its offset."""

    offset: int


def _flatbuffer(root: dict, identifier: bytes, builder: flatbuffers.Builder | None = None) -> bytes:
    builder = builder or flatbuffers.Builder()
    builder.Finish(_write(builder, root), identifier)
    return bytes(builder.Output())


def _write(builder: flatbuffers.Builder, value) -> int:
    """Writes `value` and what it holds; returns its offset."""
    if isinstance(value, _Written):
        return value.offset
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, bytes):
        builder.Prep(_ALIGNMENT, len(value))
        return builder.CreateByteVector(value)
    if isinstance(value, dict):
        return _write_table(builder, value)
    if value and isinstance(value[0], (dict, _Written)):
        offsets = [_write(builder, item) for item in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
    else:
        builder.StartVector(4, len(value), 4)
        for number in reversed(value):
            builder.PrependFloat32(number)
    return builder.EndVector()


def _write_table(builder: flatbuffers.Builder, fields: dict) -> int:
    offsets = {
        slot: _write(builder, value)
        for slot, value in fields.items()
        if type(value) not in _SCALARS
    }
    builder.StartObject(max(fields) + 1)
    for slot, value in fields.items():
        if slot in offsets:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
        else:
            builder.PrependSlot(_SCALARS[type(value)], slot, value.item(), 0)
    return builder.EndObject()


# Adding an entry to a model. Offsets in a flatbuffer lead forward only, so a new root table that
# is written before the file's bytes can refer to all that is in them. Nothing below the root is
# decoded: what the converter wrote keeps its bytes and its alignment, fields of a newer schema
# included. The old bytes are a byte vector of the new file, which is how they are found again.


class _Model:
    (
        VERSION,
        OPERATOR_CODES,
        SUBGRAPHS,
        DESCRIPTION,
        BUFFERS,
        METADATA_BUFFER,
        METADATA,
        SIGNATURE_DEFS,
    ) = range(8)


class _Metadata:
    NAME, BUFFER = range(2)


class _Buffer:
    DATA = 0


def _with_entry(model: bytes, contents: bytes) -> bytes:
    """`model`, a flatbuffer, with `contents` as its metadata entry `METADATA_ENTRY`."""
    model += bytes(-len(model) % _ALIGNMENT)
    builder = flatbuffers.Builder(len(model) + len(contents) + 4096)
    builder.CreateByteVector(model)

    def written(position: int) -> _Written:
        return _Written(len(model) - position)  # a builder counts from the end

    root = tflite.Model.GetRootAs(model, 0)
    buffers = [root.Buffers(i) for i in range(root.BuffersLength())]
    if any(buffer.Offset() > 1 for buffer in buffers):
        raise UserError("a model of more than 2 GB cannot take metadata: make a smaller one")
    entries = [root.Metadata(i) for i in range(root.MetadataLength())]
    kept = [entry for entry in entries if entry.Name() != METADATA_ENTRY.encode()]
    fields = {
        _Model.VERSION: np.uint32(root.Version()),
        _Model.BUFFERS: [
            *(written(buffer._tab.Pos) for buffer in buffers),
            {_Buffer.DATA: contents},
        ],
        _Model.METADATA: [
            *(written(entry._tab.Pos) for entry in kept),
            {_Metadata.NAME: METADATA_ENTRY, _Metadata.BUFFER: np.uint32(len(buffers))},
        ],
    }
    for slot in (
        _Model.OPERATOR_CODES,
        _Model.SUBGRAPHS,
        _Model.DESCRIPTION,
        _Model.METADATA_BUFFER,
        _Model.SIGNATURE_DEFS,
    ):
        offset = root._tab.Offset(4 + 2 * slot)
        if offset:
            fields[slot] = written(root._tab.Indirect(root._tab.Pos + offset))
    return _flatbuffer(fields, FILE_IDENTIFIER, builder)


def _without_metadata(model: bytes) -> bytes:
    """`model` without its archive, and without an entry that `_with_entry` added."""
    archive = _archive(model)
    if archive is not None:
        with archive:
            model = model[: min(entry.header_offset for entry in archive.infolist())]
    start = model.find(FILE_IDENTIFIER, 8) - 4
    if start > 0 and int.from_bytes(model[start - 4 : start], "little") == len(model) - start:
        model = model[start:]
    return model


# The archive behind the flatbuffer.

# More than any record takes: 255 classes with long names are 30 kB.
_MAX_PACKED_SIZE = 1 << 20
_ZIP_DAMAGE = (*DAMAGE, zipfile.BadZipFile, EOFError, OSError, RuntimeError, zlib.error)


def _archive(data: bytes) -> zipfile.ZipFile | None:
    """The archive behind a model, if there is one with something in it."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _ZIP_DAMAGE:
        return None
    return archive if archive.infolist() else None


def _packed_file(data: bytes, name: str) -> bytes | None:
    """The contents of the file `name` in the archive behind a model; None if it is not there."""
    archive = _archive(data)
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
