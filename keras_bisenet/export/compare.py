"""Whether a `.tflite` file gives the answers of the model that it came from, on real images, and
which layers are to blame where it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np

from keras_bisenet.errors import UserError
from keras_bisenet.export.deployed import deployed_model, unrounded_model
from keras_bisenet.export.layer_noise import LayerNoise, layer_noise
from keras_bisenet.imaging.letterbox import class_ids_from_logits
from keras_bisenet.lite.model_file import ModelFile
from keras_bisenet.runtime.segmenter import Segmenter
from keras_bisenet.training.evaluation import KerasSegmenter
from keras_bisenet.training.metrics import Scores, confusion_matrix
from keras_bisenet.training.run import Run

LEAST_AGREEMENT = 0.995
"""Share of pixels that a file must have in common with the model it was converted from."""

LOW_AGREEMENT = 0.9
"""The same where the file was quantized after the training; fewer are worth a warning."""

LARGEST_LOSS = 0.01
"""How much mIoU quantization may cost."""

LAYER_IMAGES = 2
"""On how many of the images the layers are measured."""


@dataclass(frozen=True)
class Comparison:
    """What a comparison over a split has shown.

    Args:
        images: Number of images compared.
        split: Where they come from.
        agreement: Share of pixels with the same class, at the images' own size, 0 to 1.
        miou_file: mIoU of the file on these images.
        miou_run: mIoU of the run's model on them.
        largest_difference: Of any output value, in steps of the file's output quantization;
            None for a file of float output.
        mean_difference: The mean of those, None likewise.
        is_twin: Whether the run is what the file was converted from, step by step: a QAT run for
            an int8 file, a float run for a float file. Only twins must agree by the pixel.
        layers: Where the file leaves the run's float model (for a QAT run, its network without
            the rounding), the worst first; see `layer_noise`.
        operators: Number of operators in the file. Those that are not in `layers` compute
            nothing that a layer of the run does.
    """

    images: int
    split: str
    agreement: float
    miou_file: float
    miou_run: float
    largest_difference: float | None
    mean_difference: float | None
    is_twin: bool
    layers: tuple[LayerNoise, ...] = ()
    operators: int = 0

    @property
    def passed(self) -> bool:
        return not self.shortcomings()

    def shortcomings(self) -> list[str]:
        """What falls short, a line each; empty when the file is as good as its model."""
        found = []
        if self.is_twin and self.agreement < LEAST_AGREEMENT:
            found.append(
                f"{self.agreement:.2%} of the pixels agree with the model it was converted from; "
                f"{LEAST_AGREEMENT:.1%} should"
            )
        if self.miou_run - self.miou_file > LARGEST_LOSS:
            found.append(
                f"mIoU falls from {self.miou_run:.4f} to {self.miou_file:.4f}, by more than "
                f"{LARGEST_LOSS:.2f}"
            )
        return found

    def remarks(self) -> list[str]:
        """What is worth a look in a file that passes, a line each."""
        if self.is_twin or self.agreement >= LOW_AGREEMENT:
            return []
        return [
            f"{self.agreement:.2%} of the pixels alone agree with the run: its mIoU may hide that, "
            "as where the model is unsure: train it longer, or quantize with --mode qat"
        ]

    def to_json(self) -> dict:
        return {**asdict(self), "passed": self.passed}


def compare(
    model_path,
    run_path,
    *,
    data_dir=None,
    split: str = "val",
    images: int | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Comparison:
    """Compares a `.tflite` file with a run's model on the images of a split.

    Args:
        model_path: The file.
        run_path: A float run or a QAT run.
        data_dir: The data set's folder; defaults to the run's.
        split: The split of the run's data set.
        images: How many of its images, spread over the split; None for all.
        threads: CPU threads of the interpreter.
        progress: Called with 1 after each image.

    Returns:
        The comparison.

    Raises:
        UserError: When there is no such file, run or data, or the two do not belong together.
    """
    run = Run.open(run_path)
    config = run.config
    dataset = run.load_dataset(replace(config, data_dir=str(data_dir or config.data_dir)))
    samples = dataset.split(split)
    if images:
        samples = [samples[i] for i in _spread(len(samples), images)]
    file = Segmenter(model_path, threads=threads)
    labels = dataset.label_map
    if tuple(file.info.names) != labels.names:
        raise UserError(
            f"{model_path}: its classes are not those of {run_path}: name the run it came from"
        )
    quantization = _output_quantization(file.file)
    model = deployed_model(run, file.info.size)
    reference = KerasSegmenter(model, file.info.size)

    num_classes = labels.num_classes
    matrices = np.zeros((2, num_classes, num_classes), np.int64)
    agreed = total = 0
    differences = []
    for_layers = _spread(len(samples), LAYER_IMAGES)
    layer_inputs = []
    for number, sample in enumerate(samples):
        image, truth = dataset.read(sample)
        array, fit = file.prepare(image)
        if number in for_layers:
            layer_inputs.append((array, np.float32(fit.place(image)[None] / 255)))
        raw = file.invoke(array)
        logits = reference.logits(image, fit)
        answers = file.finish(raw, fit), class_ids_from_logits(logits, fit)
        for matrix, answer in zip(matrices, answers):
            matrix += confusion_matrix(truth, answer, num_classes)
        agreed += int((answers[0] == answers[1]).sum())
        total += truth.size
        if quantization and raw.shape == logits.shape:
            scale, zero_point = quantization
            limits = np.iinfo(raw.dtype)
            steps = np.clip(np.round(logits / scale + zero_point), limits.min, limits.max)
            apart = np.abs(steps - raw)
            differences.append((apart.max(), apart.mean()))
        if progress:
            progress(1)
    scores = [Scores(labels.names, matrix) for matrix in matrices]
    float_model = unrounded_model(run, model, file.info.size)
    return Comparison(
        images=len(samples),
        split=split,
        agreement=agreed / total,
        miou_file=scores[0].miou,
        miou_run=scores[1].miou,
        largest_difference=float(max(d[0] for d in differences)) if differences else None,
        mean_difference=float(np.mean([d[1] for d in differences])) if differences else None,
        is_twin=(float_model is not model) == bool(quantization),
        layers=tuple(layer_noise(model_path, float_model, layer_inputs)),
        operators=len(file.file.main.operators),
    )


def _output_quantization(model: ModelFile) -> tuple[float, int] | None:
    """Scale and zero point of the file's output; None where it is float."""
    (output,) = model.outputs
    return (output.scales[0], output.zero_points[0]) if output.is_quantized else None


def _spread(length: int, count: int) -> list[int]:
    return np.linspace(0, length - 1, min(count, length)).round().astype(int).tolist()
