"""What a `.tflite` file says of itself by the TFLite metadata standard, whoever wrote it.

For MediaPipe Tasks, Android Studio, Netron and others. The standard's flatbuffer is the model's
metadata entry "TFLITE_METADATA". Its layout is published as
`mediapipe/tasks/metadata/metadata_schema.fbs` (version 1.5.0, identifier "M001", the
continuation of the one in tflite-support), and what MediaPipe's image segmenter asks for beyond
it as `image_segmenter_metadata_schema.fbs` ("V001").
"""

from __future__ import annotations

import math
import os

import flatbuffers.number_types
import flatbuffers.table
import numpy as np

from keras_bisenet.lite.flatbuffer import UOFFSET, flatbuffer
from keras_bisenet.lite.model_file import (
    DAMAGE,
    BoundedReader,
    MalformedError,
    ModelFile,
    Tensor,
    read_model_file,
)
from keras_bisenet.lite.record import RECORD_FILE, DeploymentRecord, damaged_metadata

LABELS_FILE = "labels.txt"
METADATA_ENTRY = "TFLITE_METADATA"
METADATA_IDENTIFIER = b"M001"


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
    model = read_model_file(source)
    try:
        return _standard_metadata(model)
    except DAMAGE as error:
        raise damaged_metadata(model, error) from error


# The standard's layout. A table's fields are numbered in the order of the schema; a union
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


def model_metadata(record: DeploymentRecord, image: Tensor) -> bytes:
    """The standard's flatbuffer for a model made here."""
    subgraph = {
        _SubGraphMetadata.INPUT_TENSOR_METADATA: [_input_metadata(record, image)],
        _SubGraphMetadata.OUTPUT_TENSOR_METADATA: [_output_metadata(record)],
    }
    min_parser_version = "1.0.0"
    if record.output_kind == "logits":
        # MediaPipe's image segmenter turns scores into confidences when told to.
        options = flatbuffer({_ImageSegmenterOptions.ACTIVATION: np.int8(_SOFTMAX)}, b"V001")
        subgraph[_SubGraphMetadata.CUSTOM_METADATA] = [
            {_CustomMetadata.NAME: "SEGMENTER_METADATA", _CustomMetadata.DATA: options}
        ]
        min_parser_version = "1.5.0"  # the first with custom metadata
    return flatbuffer(
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
        self._root = flatbuffers.table.Table(contents, root.Get(UOFFSET, 0))

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
