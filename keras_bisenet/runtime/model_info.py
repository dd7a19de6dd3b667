"""What a `.tflite` file says of itself, and what is guessed where it says nothing.

A file that `keras-bisenet convert` wrote carries its deployment record (`lite/record.py`).
Another program's segmentation model has none. Then the TFLite metadata standard's mean, standard
deviation and labels count where the file has them; what is still open follows from its tensors,
and is said, since it is a guess.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from keras_bisenet.errors import UserError
from keras_bisenet.label_map import VOID
from keras_bisenet.lite.model_file import ModelFile
from keras_bisenet.lite.record import DeploymentRecord, packed_file, read_record
from keras_bisenet.lite.standard_metadata import read_standard_metadata


@dataclass(frozen=True)
class ModelInfo:
    """A segmentation model as its user sees it.

    Attributes:
        size: (height, width) of the input, [1, height, width, 3] RGB.
        input_dtype: "int8", "uint8", "int16" or "float32".
        input_scale: A pixel (0 to 255) stands for the real value
            `pixel * input_scale + input_offset`; a number, or one each for red, green and blue.
        input_offset: See `input_scale`.
        input_quantization: (scale, zero point) of the input tensor, which holds
            `real / scale + zero point`; None for float32.
        kind: "logits" (one channel per class) or "class_ids".
        stride: How many of the input's pixels lie between two of the output's, along a side.
        output_dtype: NumPy's name of the output's type.
        names: One name per class.
        palette: One RGB colour per class.
        record: The whole deployment record; None for another program's file.
        threshold: Of a model of one channel: a raw output above it is the foreground. It has two
            classes then. None for all others.
        guesses: What the file does not say, and is taken to mean, in words.
    """

    size: tuple[int, int]
    input_dtype: str
    input_scale: float | tuple[float, float, float]
    input_offset: float | tuple[float, float, float]
    input_quantization: tuple[float, int] | None
    kind: str
    stride: int
    output_dtype: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    record: DeploymentRecord | None
    threshold: float | None = None
    guesses: tuple[str, ...] = ()

    @classmethod
    def read(cls, model: ModelFile, interpreter) -> ModelInfo:
        """Reads `model`, which `interpreter` has open.

        Raises:
            UserError: When the model does no segmentation of one image, its record is damaged,
                or the record is of another model.
        """
        name = model.path
        image, output = _tensors(interpreter, name)
        size = (int(image["shape"][1]), int(image["shape"][2]))
        dtype = np.dtype(image["dtype"]).name
        scale, offset, quantization = _guess_pixels(dtype, image["quantization"])
        threshold = _threshold(model, output)
        kind, stride, classes = _guess_output(output, size, name, threshold is not None)
        record, guesses = read_record(model), []
        if record is None:
            said = read_standard_metadata(model)
            normalization = _normalization(said, name)
            if normalization:
                scale, offset = normalization
            elif quantization is None or dtype == "int16":
                guesses.append("it does not say how pixels enter: they are taken as 0 to 1")
            else:
                guesses.append("it does not say how pixels enter: they are taken as they are")
            if threshold is not None:
                is_probability = final_activation(model) == "LOGISTIC"
                guesses.append(
                    "its output has one channel: it is taken as the foreground's "
                    + ("probability, from 0.5 on" if is_probability else "logit, from 0 on")
                )
            names = _labels(model, said, kind, classes, guesses)
            palette = _generated_palette(len(names))
        else:
            scale, offset = record.input_scale, record.input_offset
            names, palette = record.label_map.names, record.label_map.palette
            told = (record.input_height, record.input_width)
            says = (*told, record.output_kind, record.output_stride)
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
            threshold=threshold,
            guesses=tuple(guesses),
        )


def declared_names(model: ModelFile) -> tuple[str, ...] | None:
    """The class names that a file says itself, by its record or the metadata standard's labels.

    Raises:
        UserError: When its metadata is damaged.
    """
    record = read_record(model)
    return (
        record.label_map.names if record else _packed_labels(model, read_standard_metadata(model))
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


def _normalization(said: dict, name: str):
    """(scale, offset) of pixels by the metadata's mean and standard deviation; None without."""
    image = (said.get("inputs") or [{}])[0]
    mean, std = image.get("mean"), image.get("std")
    if not mean or not std:
        return None
    if len(mean) not in (1, 3) or len(std) not in (1, 3) or min(std) <= 0:
        raise UserError(
            f"{name}: its metadata's mean {mean} and std {std} normalize no image of three "
            "channels: mend them"
        )
    mean, std = (values * (3 // len(values)) for values in (mean, std))
    if len(set(mean)) == len(set(std)) == 1:
        return 1 / std[0], -mean[0] / std[0]
    return tuple(1 / s for s in std), tuple(-m / s for m, s in zip(mean, std))


def _labels(
    model: ModelFile, said: dict, kind: str, classes: int, guesses: list[str]
) -> tuple[str, ...]:
    """Names by the metadata's labels; numbers where there are none that fit."""
    names = _packed_labels(model, said)
    if names and (len(names) == classes or (kind == "class_ids" and len(names) <= VOID)):
        return names
    if names:
        guesses.append(f"its labels name {len(names)} classes, and it has {classes}: not used")
    if classes == 2 and not names:
        return "background", "foreground"
    return tuple(f"class {i}" for i in range(classes))


def _packed_labels(model: ModelFile, said: dict) -> tuple[str, ...] | None:
    """The names in the file of labels that the output's metadata lists, each once."""
    files = (said.get("outputs") or [{}])[0].get("files", [])
    kinds = {file["type"]: file["name"] for file in reversed(files) if file.get("name")}
    listed = next((kinds[kind] for kind in _LABEL_FILES if kind in kinds), None)
    packed = packed_file(model.data, listed) if listed else None
    names: list[str] = []
    for line in (packed or b"").decode("utf-8-sig", "replace").splitlines():
        if line.strip():
            repeats = line.strip() in names
            names.append(f"{line.strip()} ({len(names)})" if repeats else line.strip())
    if len(names) == 1:  # of a model of one channel, the foreground
        names.insert(0, "background")
    return tuple(names) or None


_LABEL_FILES = ("axis labels", "value labels", "unknown")
"""What the metadata standard calls a file of labels; others hold words or calibrations."""

_PASSING_ON = ("QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "RESIZE_BILINEAR")


def final_activation(model: ModelFile) -> str | None:
    """SOFTMAX or LOGISTIC where a model's output is such an operator's, and so probabilities."""
    tensor, producer = model.main.outputs[0], None
    makers = {index: op for op in model.main.operators for index in op.outputs}
    while tensor in makers:
        producer = makers[tensor]
        if producer.name not in _PASSING_ON:
            break
        tensor = producer.inputs[0]
    is_probability = producer is not None and producer.name in ("SOFTMAX", "LOGISTIC")
    return producer.name if producer is not None and is_probability else None


def _threshold(model: ModelFile, output: dict) -> float | None:
    """Where the foreground begins in the raw output of a model of one channel; None for others.

    A sigmoid answers with a probability, all else with a logit.
    """
    shape, dtype = tuple(output["shape"]), np.dtype(output["dtype"]).name
    if len(shape) != 4 or shape[3] != 1 or dtype not in ("float32", "int8", "uint8", "int16"):
        return None
    is_probability = final_activation(model) == "LOGISTIC"
    if dtype == "uint8" and not is_probability:
        return None  # class ids
    scale, zero_point = output["quantization"]
    return (0.5 if is_probability else 0.0) / (scale or 1.0) + zero_point


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


def _guess_output(
    output: dict, size: tuple[int, int], name: str, is_binary: bool
) -> tuple[str, int, int]:
    """What an output is by its shape and type: (kind, stride, number of classes)."""
    shape = tuple(int(side) for side in output["shape"])
    dtype = np.dtype(output["dtype"]).name
    if len(shape) == 4 and not _has_aspect(size, shape[1:3]) and _has_aspect(size, shape[2:]):
        raise UserError(
            f"{name}: its output, {_shown(shape)} for an image of {size[0]}x{size[1]}, has the "
            "classes first (NCHW): convert it with the classes last (1 x height x width x classes)"
        )
    if is_binary:
        kind, classes = "logits", 2
    elif len(shape) == 4 and shape[3] > 1 and dtype in ("int8", "uint8", "int16", "float32"):
        kind, classes = "logits", int(shape[3])
    elif shape[3:] in ((), (1,)) and len(shape) >= 3 and dtype in ("uint8", "int32", "int64"):
        kind, classes = "class_ids", VOID
    else:
        kind, classes = "", 0
    is_map = kind and shape[0] == 1 and _has_aspect(size, shape[1:3])
    if not is_map or shape[1] > size[0] or shape[2] > size[1]:
        raise UserError(
            f"{name}: its output, {_shown(shape)} {dtype} for an image of {size[0]}x{size[1]}, "
            "is no segmentation: 1 x height x width x classes, or class ids as integers"
        )
    if classes > VOID:
        raise UserError(f"{name}: it has {classes} classes; masks hold {VOID} at most")
    return kind, round(size[0] / shape[1]), classes


def _has_aspect(size: tuple[int, int], sides: tuple[int, ...]) -> bool:
    """Whether a map has the image's aspect, rounded to whole strides."""
    if min(sides) < 2 or sides[0] > size[0] or sides[1] > size[1]:
        return False
    down, across = (max(s // side, 1) for s, side in zip(size, sides))
    return abs(down - across) <= 1 and max(
        abs(sides[0] * size[1] / size[0] - sides[1]), abs(sides[1] * size[0] / size[1] - sides[0])
    ) <= max(2, 0.05 * max(sides))


def _generated_palette(classes: int) -> tuple[tuple[int, int, int], ...]:
    """Colours that differ from their neighbours': hues a golden angle apart."""
    palette = []
    for i in range(classes):
        lightness, saturation = (0.5, 0.65, 0.35)[i % 3], (0.75, 0.55)[i // 3 % 2]
        colour = colorsys.hls_to_rgb(i * 0.618034 % 1, lightness, saturation)
        red, green, blue = (round(255 * value) for value in colour)
        palette.append((red, green, blue))
    return tuple(palette)


def _shown(shape) -> str:
    return " x ".join(str(int(side)) for side in shape)
