"""What a `.tflite` file says of itself, and what is guessed where it says nothing.

A file that `keras-bisenet convert` wrote carries its deployment record (`lite/record.py`).
Another program's segmentation model has none: how it is fed and what its output means then
follow from its tensors.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from keras_bisenet.errors import UserError
from keras_bisenet.label_map import VOID
from keras_bisenet.lite.model_file import ModelFile
from keras_bisenet.lite.record import DeploymentRecord, read_record


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
    record: DeploymentRecord | None

    @classmethod
    def read(cls, model: ModelFile, interpreter) -> ModelInfo:
        """Reads `model`, which `interpreter` has open.

        Raises:
            UserError: When the model does no segmentation of one image, its record is damaged,
                or the record is of another model.
        """
        name = model.path
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
            scale, offset = record.input_scale, record.input_offset
            names, palette = record.label_map.names, record.label_map.palette
            says = (record.input_height, record.input_width)
            says += (record.output_kind, record.output_stride)
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
