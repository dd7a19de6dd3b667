"""What a `.tflite` file says of itself, and what is guessed where it says nothing.

A file that `keras-bisenet convert` wrote carries its deployment record, `keras_bisenet.json`, in
a ZIP archive behind the flatbuffer. Another program's segmentation model has none: how it is fed
and what its output means then follow from its tensors.
"""

from __future__ import annotations

import colorsys
import io
import json
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np

from keras_bisenet.errors import UserError
from keras_bisenet.label_map import VOID
from keras_bisenet.runtime.interpreter import model_name, read_model

RECORD_FILE = "keras_bisenet.json"
RECORD_FORMAT = 1


@dataclass(frozen=True)
class ModelInfo:
    """A segmentation model as its user sees it.

    Attributes:
        size: (height, width) of the input, [1, height, width, 3] RGB.
        input_dtype: "int8", "uint8", "int16" or "float32".
        input_scale: A pixel (0 to 255) stands for the real value
            `pixel * input_scale + input_offset`.
        input_offset: See `input_scale`.
        input_quantization: (scale, zero point) of the input tensor, which holds
            `real / scale + zero point`; None for float32.
        kind: "logits" (one channel per class) or "class_ids".
        stride: How many of the input's pixels lie between two of the output's, along a side.
        output_dtype: NumPy's name of the output's type.
        names: One name per class.
        palette: One RGB colour per class.
        record: The whole deployment record; None for another program's file.
    """

    size: tuple[int, int]
    input_dtype: str
    input_scale: float
    input_offset: float
    input_quantization: tuple[float, int] | None
    kind: str
    stride: int
    output_dtype: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    record: dict | None

    @classmethod
    def read(cls, model, interpreter) -> ModelInfo:
        """Reads `model`, a path or the file's content, which `interpreter` has open.

        Raises:
            UserError: When the model does no segmentation of one image, its record is damaged,
                or the record is of another model.
        """
        name = model_name(model)
        image, output = _tensors(interpreter, name)
        size = tuple(int(side) for side in image["shape"][1:3])
        dtype = np.dtype(image["dtype"]).name
        scale, offset, quantization = _guess_pixels(dtype, image["quantization"])
        kind, stride, classes = _guess_output(output, size, name)
        record = read_record(model)
        if record is None:
            names = tuple(f"class {i}" for i in range(classes))
            palette = _generated_palette(classes)
        else:
            try:
                scale, offset = (float(record["input"][key]) for key in ("scale", "offset"))
                names = tuple(str(entry["name"]) for entry in record["classes"])
                palette = tuple(_color(entry["color"]) for entry in record["classes"])
                says = (record["input"]["height"], record["input"]["width"])
                says += (record["output"]["kind"], record["output"]["stride"])
            except (KeyError, TypeError, ValueError) as error:
                raise _damaged(name, f"{type(error).__name__}: {error}") from error
            if says != (*size, kind, stride) or (kind == "logits" and len(names) != classes):
                raise UserError(
                    f"{name}: its deployment record ({says[0]}x{says[1]}, {says[2]} at stride "
                    f"{says[3]}, {len(names)} classes) is of another model: convert it again"
                )
        return cls(
            size=size,
            input_dtype=dtype,
            input_scale=scale,
            input_offset=offset,
            input_quantization=quantization,
            kind=kind,
            stride=stride,
            output_dtype=np.dtype(output["dtype"]).name,
            names=names,
            palette=palette,
            record=record,
        )


def read_record(model) -> dict | None:
    """The deployment record in a `.tflite` file; None where there is none.

    Args:
        model: The file's path, or its content.

    Raises:
        UserError: When the file cannot be read, or the record is damaged.
    """
    name = model_name(model)
    content = read_model(model)
    if not zipfile.is_zipfile(io.BytesIO(content)):
        if RECORD_FILE.encode() in content:  # the archive's end, which lists its files, is gone
            raise _damaged(name, "it is cut off")
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if RECORD_FILE not in archive.namelist():
                return None
            record = json.loads(archive.read(RECORD_FILE))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise _damaged(name, error) from error
    if not isinstance(record, dict) or "format" not in record:
        raise _damaged(name, "it has no format")
    if record["format"] != RECORD_FORMAT:
        raise UserError(
            f"{name}: its deployment record is of format {record['format']}, which this "
            "keras-bisenet does not know: pip install -U keras-bisenet"
        )
    return record


def _damaged(name: str, reason) -> UserError:
    return UserError(
        f"{name}: its deployment record is damaged ({reason}): copy or convert the file again"
    )


def _tensors(interpreter, name: str) -> tuple[dict, dict]:
    """The details of the input and the output of a model that has one of each."""
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(
            f"{name}: its inputs number {len(inputs)} and its outputs {len(outputs)}; "
            "a segmentation model has one image as its input, and one output"
        )
    shape = tuple(inputs[0]["shape"])
    dtype = np.dtype(inputs[0]["dtype"]).name
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
        raise UserError(
            f"{name}: its input has the shape {_shown(shape)}; "
            "an image for segmentation is 1 x height x width x 3"
        )
    if dtype not in ("int8", "uint8", "int16", "float32"):
        raise UserError(
            f"{name}: its input is {dtype}; convert it with an input of int8, uint8 or float32"
        )
    return inputs[0], outputs[0]


def _guess_pixels(dtype: str, quantization) -> tuple[float, float, tuple[float, int] | None]:
    """How pixels enter a model that does not say: (scale, offset, quantization).

    8-bit inputs take the pixels as they are (less 128 for int8), whatever real values their
    quantization gives to those. Other inputs take [0, 1].
    """
    if dtype == "float32":
        return 1 / 255, 0.0, None
    lowest = -128 if dtype == "int8" else 0
    scale, zero_point = quantization
    if scale == 0:  # the tensor is not quantized: its values are what they are
        scale, zero_point = 1.0, 0
    if dtype == "int16":
        return 1 / 255, 0.0, (scale, zero_point)
    return scale, (lowest - zero_point) * scale, (scale, zero_point)


def _guess_output(output: dict, size: tuple[int, int], name: str) -> tuple[str, int, int]:
    """What an output is by its shape and type: (kind, stride, number of classes)."""
    shape = tuple(output["shape"])
    dtype = np.dtype(output["dtype"]).name
    if len(shape) == 4 and shape[3] > 1 and dtype in ("int8", "uint8", "int16", "float32"):
        kind, classes = "logits", int(shape[3])
    elif shape[3:] in ((), (1,)) and len(shape) >= 3 and dtype in ("uint8", "int32", "int64"):
        kind, classes = "class_ids", VOID
    else:
        kind, classes = None, 0
    is_map = kind and shape[0] == 1 and shape[1] > 1 and shape[2] > 1
    if not is_map or shape[1] > size[0] or shape[2] > size[1]:
        raise UserError(
            f"{name}: its output, {_shown(shape)} {dtype} for an image of {size[0]}x{size[1]}, "
            "is no segmentation: 1 x height x width x classes, or class ids as integers"
        )
    if classes > VOID:
        raise UserError(f"{name}: it has {classes} classes; masks hold {VOID} at most")
    return kind, round(size[0] / shape[1]), classes


def _color(values) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in values)
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise ValueError(f"no colour: {values}")
    return red, green, blue


def _generated_palette(classes: int) -> tuple[tuple[int, int, int], ...]:
    """Colours that differ from their neighbours': hues a golden angle apart."""
    palette = []
    for i in range(classes):
        lightness, saturation = (0.5, 0.65, 0.35)[i % 3], (0.75, 0.55)[i // 3 % 2]
        colour = colorsys.hls_to_rgb(i * 0.618034 % 1, lightness, saturation)
        palette.append(tuple(round(255 * value) for value in colour))
    return tuple(palette)


def _shown(shape) -> str:
    return " x ".join(str(int(side)) for side in shape)
