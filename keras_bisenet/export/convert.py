"""From a run to a `.tflite` file.

Which precision a run can have:

| run | precisions |
|---|---|
| float | float32, float16 (weights), dynamic (int8 weights, float activations) |
| quantized, QAT | int8 |
| quantized, PTQ | int8, int16x8 (16-bit activations, 8-bit weights) |
"""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from keras_bisenet.console import quiet_stderr
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.export.deployed import converting, deployed_model
from keras_bisenet.lite.metadata import add_metadata
from keras_bisenet.lite.record import DeploymentRecord
from keras_bisenet.targets import TARGETS
from keras_bisenet.training.run import Run

PRECISIONS = {
    None: ("float32", "float16", "dynamic"),
    "qat": ("int8",),
    "ptq": ("int8", "int16x8"),
}
"""What a run can be converted to, by its mode of quantization."""


def convert(
    run: Run,
    *,
    target: str | None = None,
    precision: str = "int8",
    size: tuple[int, int] | None = None,
    io: str = "int8",
) -> bytes:
    """Converts a run to a `.tflite` file with metadata.

    An int8 file computes in integers from its input to its output.

    Args:
        run: A float run, or one that was quantized.
        target: What will run it, one of `TARGETS`. Defaults to the run's.
        precision: What weights and activations are; see the table above.
        size: `(height, width)` of the input, multiples of 32. Defaults to the run's.
        io: "int8" or "uint8": what the input and the output of an int8 file are.

    Returns:
        The file's content.

    Raises:
        UsageError: When the run cannot have that precision or target, or the size does not fit.
        UserError: When the run holds no model yet.
    """
    config, quantization = run.config, run.quantization
    size = size or config.size
    mode = quantization.mode if quantization else None
    check_precision(run, mode, precision)
    target = target or (quantization.target if quantization else "cpu")
    check_target(run, target, precision)
    model = deployed_model(run, size)

    calibration = functools.partial(_calibration, run, size) if mode == "ptq" else None
    with converting(run, model):
        content = convert_model(model, precision, io=io, calibration=calibration)
    record = DeploymentRecord(
        model=config.model,
        target=target,
        precision=precision,
        dataset=config.dataset,
        label_map=run.label_map,
        input_height=size[0],
        input_width=size[1],
        output_kind="logits",
        output_stride=size[0] // model.output_shape[1],
        **_measured(run, precision, size),
    )
    return add_metadata(content, record)


def _measured(run: Run, precision: str, size: tuple[int, int]) -> dict:
    """What is known of the file's mIoU: fields of its record."""
    quantization = run.quantization
    if quantization and quantization.mode == "ptq":
        with _calibration_file(run) as file:
            miou = file.get("float_miou")
    else:
        miou = run.best_miou()
    if miou is None:
        return {}
    is_model = precision == "float32" or (quantization and quantization.mode == "qat")
    other = [] if is_model else ["float32"]
    elsewhere = [] if size == run.config.size else ["at {}x{}".format(*run.config.size)]
    of = " ".join(["the", *other, "model", *elsewhere]) if other or elsewhere else None
    split = "val (trained on)" if run.config.train_on_val else "val"
    return {"miou": float(miou), "split": split, "miou_of": of}


def check_precision(run: Run, mode: str | None, precision: str) -> None:
    """Raises a UsageError, naming the cure, unless such a run can have this precision."""
    if precision in PRECISIONS[mode]:
        return
    if mode is None:
        raise UsageError(
            f"{run.path}: a float run cannot be converted to {precision}: quantize it first "
            f"(keras-bisenet quantize {run.path} --run {run.path}-qat), or choose --precision "
            f"{', '.join(PRECISIONS[None])}"
        )
    raise UsageError(
        f"{run.path}: a run quantized with {mode} converts to {', '.join(PRECISIONS[mode])}, "
        f"not to {precision}"
    )


def check_target(run: Run, target: str, precision: str) -> None:
    """Raises a UsageError, naming the cure, unless the target takes the run and the precision."""
    quantization, wanted = run.quantization, TARGETS[target]
    if precision not in wanted.precisions:
        taken = f"{wanted.runner} takes {', '.join(wanted.precisions)} alone"
        if quantization is None and "int8" in wanted.precisions:
            raise UsageError(
                f"{run.path}: {taken}: quantize first (keras-bisenet quantize {run.path} --run "
                f"{run.path}-{target} --target {target})"
            )
        raise UsageError(f"--precision {precision}: {taken}")
    if quantization and wanted.resize != TARGETS[quantization.target].resize:
        raise UsageError(
            f"{run.path}: quantized for {quantization.target}, whose network has another form: "
            f"quantize the float run again with --target {target}"
        )


def convert_model(
    model, precision: str, *, io: str = "int8", calibration: Callable | None = None
) -> bytes:
    """Converts a model to a plain `.tflite` file, with batch 1 and without metadata.

    Args:
        model: A model of either Keras, of fixed size. For int8 it is quantization-aware, unless
            there are images to calibrate with.
        precision: What weights and activations are, of `targets.target.PRECISIONS`.
        io: "int8" or "uint8": what the input and the output of an int8 file are.
        calibration: The representative data set: a function to lists of one float32 batch each.

    Returns:
        The file's content.
    """
    size = model.input_shape[1:3]

    # Layers hold no Python that depends on tensors, and to look for it takes seconds.
    @tf.function(
        input_signature=[tf.TensorSpec((1, *size, 3), tf.float32, name="image")], autograph=False
    )
    def inference(image):
        return model(image, training=False)

    with _silenced():
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [inference.get_concrete_function()]
        )
        if calibration is not None:
            converter.representative_dataset = calibration
        _set_precision(converter, precision, calibration is not None, io)
        return converter.convert()


def _set_precision(converter, precision: str, is_calibrated: bool, io: str) -> None:
    if precision == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif precision == "int8":
        if is_calibrated:
            # Fails rather than leave an operator in float. QAT carries its ranges in the graph,
            # and the converter would ask for a data set.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(io)
    elif precision == "int16x8":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        converter.inference_input_type = converter.inference_output_type = tf.int16


def _calibration(run: Run, size: tuple[int, int]) -> Iterator[list[np.ndarray]]:
    """The run's calibration images as the converter wants them, and first of all a ramp from 0
    to 1, so that the input's scale is 1/255 whatever the images hold."""
    with _calibration_file(run) as file:
        images = file["images"]
    ramp = np.linspace(0, 1, 256, dtype=np.float32)
    yield [np.resize(ramp, (1, *size, 3))]
    for image in images:
        batch = tf.image.resize(image[None].astype(np.float32) / 255, size)
        yield [batch.numpy()]


@contextlib.contextmanager
def _calibration_file(run: Run) -> Iterator[np.lib.npyio.NpzFile]:
    """What `quantize --mode ptq` left for the converter."""
    path = run.calibration_file
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            yield file
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: no calibration images ({error}): quantize again") from error


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keeps the converter's chatter off the terminal, but shows it when it fails."""
    tf.get_logger().setLevel(logging.ERROR)
    with warnings.catch_warnings(), quiet_stderr(show_on_error=True):
        warnings.simplefilter("ignore")
        yield
