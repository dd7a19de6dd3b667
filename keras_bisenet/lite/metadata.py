"""Adding metadata to a `.tflite` file.

A file made here carries its `DeploymentRecord` twice, so that this project's runtime and
everybody else's need nothing but the file: packed in an archive behind the flatbuffer
(`record.py`; `zipfile` opens the `.tflite` itself), and as the TFLite metadata standard's own
flatbuffer (`standard_metadata.py`).
"""

from __future__ import annotations

import io
import json
import zipfile

import flatbuffers
import numpy as np
import tflite

from keras_bisenet.errors import UserError
from keras_bisenet.lite.flatbuffer import ALIGNMENT, Written, flatbuffer
from keras_bisenet.lite.model_file import FILE_IDENTIFIER, read_model_file
from keras_bisenet.lite.record import RECORD_FILE, DeploymentRecord, archive_behind
from keras_bisenet.lite.standard_metadata import LABELS_FILE, METADATA_ENTRY, model_metadata


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
    model = without_metadata(model)
    parsed = read_model_file(model)
    if len(parsed.inputs) != 1 or len(parsed.outputs) != 1:
        raise ValueError(f"{len(parsed.inputs)} inputs and {len(parsed.outputs)} outputs, not one")
    image = parsed.inputs[0]
    if image.shape != (1, record.input_height, record.input_width, 3):
        raise ValueError(
            f"the record is of an input of {record.input_height}x{record.input_width}, "
            f"the model's is {list(image.shape)}"
        )
    archive = io.BytesIO(_with_entry(model, model_metadata(record, image)))
    labels = "".join(" ".join(name.split()) + "\n" for name in record.label_map.names)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_STORED) as files:
        files.writestr(zip_entry(LABELS_FILE), labels)
        files.writestr(zip_entry(RECORD_FILE), json.dumps(record.to_json(), indent=2) + "\n")
    return archive.getvalue()


def zip_entry(name: str) -> zipfile.ZipInfo:
    """A file in an archive, the same at any time and on any system."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix
    entry.external_attr = 0o100644 << 16
    return entry


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
    model += bytes(-len(model) % ALIGNMENT)
    builder = flatbuffers.Builder(len(model) + len(contents) + 4096)
    builder.CreateByteVector(model)

    def written(position: int) -> Written:
        return Written(len(model) - position)  # a builder counts from the end

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
    return flatbuffer(fields, FILE_IDENTIFIER, builder)


def without_metadata(model: bytes) -> bytes:
    """`model` without its archive, and without an entry that `_with_entry` added."""
    archive = archive_behind(model)
    if archive is not None:
        with archive:
            model = model[: min(entry.header_offset for entry in archive.infolist())]
    start = model.find(FILE_IDENTIFIER, 8) - 4
    if start > 0 and int.from_bytes(model[start - 4 : start], "little") == len(model) - start:
        model = model[start:]
    return model
