"""Writing flatbuffers from plain values, without a schema's generated classes.

A table is a dict from a field's number to its value: a str, bytes, a dict (a table), a list of
dicts or of floats, a NumPy array (a vector), or a NumPy scalar of the field's type.
"""

from __future__ import annotations

from dataclasses import dataclass

import flatbuffers
import flatbuffers.number_types
import numpy as np

UOFFSET = flatbuffers.number_types.UOffsetTFlags
_SCALARS = {
    np.int8: flatbuffers.number_types.Int8Flags,
    np.uint8: flatbuffers.number_types.Uint8Flags,
    np.int32: flatbuffers.number_types.Int32Flags,
    np.uint32: flatbuffers.number_types.Uint32Flags,
}
# What both schemas ask of vectors of bytes (`force_align: 16`): a kernel may read a tensor's
# data where it lies.
ALIGNMENT = 16


@dataclass(frozen=True)
class Written:
    """Something that is in the builder already, by its offset."""

    offset: int


def flatbuffer(root: dict, identifier: bytes, builder: flatbuffers.Builder | None = None) -> bytes:
    """A file: the table `root` and all that it holds, behind what `builder` has already."""
    builder = builder or flatbuffers.Builder()
    builder.Finish(_write(builder, root), identifier)
    return bytes(builder.Output())


def _write(builder: flatbuffers.Builder, value) -> int:
    """Writes `value` and what it holds; returns its offset."""
    if isinstance(value, Written):
        return value.offset
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, bytes):
        builder.Prep(ALIGNMENT, len(value))
        return builder.CreateByteVector(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, dict):
        return _write_table(builder, value)
    if value and isinstance(value[0], (dict, Written)):
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
