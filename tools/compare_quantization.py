"""Which choices make an int8 model better: how far each takes it from its float model.

    python tools/compare_quantization.py MODEL.keras --dataset camvid --data-dir DIR

Prints a row for each way to choose the ranges of activations and of depthwise kernels, all
without fine-tuning, where they differ most: the signal-to-noise ratio of the logits against the
float model's, the share of pixels whose class differs, and mIoU on validation images. The
quantization-aware model is what is measured; its `.tflite` file gives the same integers.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import click
import numpy as np

from keras_bisenet.quantization import calibration, qat  # isort: skip  (Keras 3 first, then tfmot)
import tf_keras

from keras_bisenet.cli.options import SIZE
from keras_bisenet.data import load_dataset
from keras_bisenet.imaging.letterbox import Fit
from keras_bisenet.models.deployment import deployment_model
from keras_bisenet.training.evaluation import resized_logits
from keras_bisenet.training.metrics import Scores, confusion_matrix
from keras_bisenet.training.saving import load_model

LAST_LAYER = "without 0.01%, but the last layer's min/max"
VARIANTS = (
    # label, share of the values to leave out, whether depthwise kernels are equalized
    ("min/max", 0.0, False),
    ("without 0.001% of the values", 1e-5, False),
    ("without 0.01%", 1e-4, False),
    ("without 0.1%", 1e-3, False),
    (LAST_LAYER, 1e-4, False),
    ("min/max; depthwise kernels equalized", 0.0, True),
    ("without 0.001%; equalized (what `quantize` does)", calibration.OUTLIERS, True),
    ("without 0.01%; equalized", 1e-4, True),
)


@click.command()
@click.argument("model", type=click.Path(exists=True))
@click.option("--model", "name", default="bisenetv2", help="Its name, as `train` has it.")
@click.option("--dataset", required=True)
@click.option("--data-dir", required=True)
@click.option("--size", type=SIZE, default="256x320")
@click.option("--images", default=24, help="Of each split: to calibrate, and to measure on.")
def main(model, name, dataset, data_dir, size, images):
    """Compare ways to quantize MODEL, a .keras file."""
    data = load_dataset(dataset, data_dir)
    train, val = (spread(data, split, images, size) for split in ("train", "val"))
    source = load_model(model)

    def build():
        return deployment_model(source, name, (*size, 3), keras=tf_keras)

    plain, equalized = build(), build()
    qat.equalize_depthwise(equalized)
    truth = [logits_of(plain, fitted) for *_, fitted in val]
    click.echo("| ranges | logits' SNR, dB | pixels that differ, % | val mIoU, % |")
    click.echo("|---|---|---|---|")
    click.echo(f"| none: float | | | {100 * score(truth, truth, val, data)[2]:.2f} |")
    for label, outliers, is_equalized in VARIANTS:
        float_model = equalized if is_equalized else plain
        quantized = qat.quantization_aware(float_model)
        calibration.calibrate(quantized, float_model, (image for *_, image in train), outliers)
        if label == LAST_LAYER:
            set_last_range(quantized, [logits_of(plain, image) for *_, image in train])
        answers = [logits_of(quantized, fitted) for *_, fitted in val]
        snr, differ, miou = score(answers, truth, val, data)
        click.echo(f"| {label} | {snr:.2f} | {100 * differ:.3f} | {100 * miou:.2f} |")


def spread(data, split, count, size):
    """(fit, class ids, image in [0, 1] at the network's size) of images all over a split."""
    samples = data.split(split)
    found = []
    for i in np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int):
        image, ids = data.read(samples[i])
        fit = Fit.of(image.shape[:2], size)
        found.append((fit, ids, fit.place(image)[None].astype(np.float32) / 255))
    return found


def logits_of(model, image):
    return model(image, training=False).numpy()[0]


def set_last_range(quantized, logits) -> None:
    """Makes the last layer's range span the mean extremes of the logits."""
    low, high = (np.mean([extreme(x) for x in logits]) for extreme in (np.min, np.max))
    calibration.set_range(quantized.get_layer("quant_head_logits"), low, high)


def score(answers, truth, samples, data) -> tuple[float, float, float]:
    """Signal-to-noise ratio in dB, share of pixels with another class, and mIoU."""
    signal = sum(np.sum(np.square(t, dtype=np.float64)) for t in truth)
    noise = sum(np.sum(np.square(a - t, dtype=np.float64)) for a, t in zip(answers, truth))
    labels, total, differ = data.label_map, 0, []
    for answer, right, (fit, ids, _) in zip(answers, truth, samples):
        classes, others = (resized_logits(x, fit).argmax(axis=-1) for x in (answer, right))
        total = total + confusion_matrix(ids, classes.astype(np.uint8), labels.num_classes)
        differ.append(np.mean(classes != others))
    snr = 10 * np.log10(signal / noise) if noise else np.inf
    return snr, float(np.mean(differ)), Scores(labels.names, total).miou


if __name__ == "__main__":
    main()
