"""`keras-bisenet demo`: the whole pipeline on a generated street data set."""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
from PIL import Image

from keras_bisenet.cli.options import load_tensorflow, training_half
from keras_bisenet.errors import UserError
from keras_bisenet.files import replacing, write_bytes, write_json
from keras_bisenet.imaging.drawing import contact_sheet, overlay
from keras_bisenet.progress import progress_bar
from keras_bisenet.runtime.bench import cpu_name, measure
from keras_bisenet.runtime.interpreter import runtime_name
from keras_bisenet.runtime.segmenter import Segmenter

SIZE = (192, 256)
COUNTS = {"train": 240, "val": 24, "test": 40}
TRAINING = {
    "dataset": "streets",
    "size": SIZE,
    "model": "bisenetv2-small",
    "epochs": 14,
    "batch_size": 8,
    "optimizer": "adamw",
    "learning_rate": 0.004,
    "validate_every": 2,
}
QAT = {"mode": "qat", "epochs": 2, "calibration_images": 60}
PTQ = {"mode": "ptq", "calibration_images": 60}
FILES = {"float": "float32.tflite", "ptq": "ptq_int8.tflite", "qat": "qat_int8.tflite"}
NUM_PICTURES = 5


@click.command("demo")
@click.option("--out", type=click.Path(path_type=Path), default="demo", show_default=True)
@click.option("--quick", is_flag=True, help="One epoch: shows the steps, not the accuracy.")
def command(out, quick):
    """Generate streets, train, quantize, convert, check and look: in minutes, on any machine.

    OUT/report.png shows images, truth, and the float and int8 answers; OUT/report.json has the
    figures.
    """
    started = time.perf_counter()
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: something is here already: remove it, or choose another --out")
    with training_half():
        load_tensorflow()
        runs = _make_runs(out, quick)
        report = _report(out, runs)
    report["seconds"] = round(time.perf_counter() - started, 1)
    write_json(out / "report.json", report)
    _print(out, report)


def _make_runs(out: Path, quick: bool) -> dict:
    """Generates the data, trains, quantizes twice, and converts all three."""
    from keras_bisenet.data import load_dataset
    from keras_bisenet.data.streets import generate_streets
    from keras_bisenet.export.convert import convert
    from keras_bisenet.quantization.quantizer import quantize
    from keras_bisenet.training.config import QuantizationConfig, TrainingConfig
    from keras_bisenet.training.run import Run
    from keras_bisenet.training.trainer import train

    _step(1, "a generated street data set", f"dataset generate --out {out}/data")
    data = out / "data"
    with progress_bar("drawing streets", sum(COUNTS.values())) as bar:
        generate_streets(data, counts=COUNTS, size=SIZE, progress=lambda done, total: bar(1))

    _step(2, "training in float", f"train --dataset streets --data-dir {data} --run {out}/float")
    shorter = {"epochs": 1} if quick else {}
    config = TrainingConfig(data_dir=str(data), **{**TRAINING, **shorter})
    label_map = load_dataset("streets", data).label_map
    runs = {"float": Run.create(out / "float", config, label_map)}
    train(config, runs["float"])

    for number, mode, options in ((3, "qat", {**QAT, **shorter}), (4, "ptq", PTQ)):
        names = {"qat": "quantization-aware training", "ptq": "post-training quantization"}
        _step(number, names[mode], f"quantize {out}/float --run {out}/{mode} --mode {mode}")
        quantization = QuantizationConfig(**options)
        runs[mode] = Run.create(out / mode, config, label_map, quantization)
        quantize(runs["float"], runs[mode], quantization)

    _step(5, "converting to .tflite", f"convert {out}/qat -o {out}/{FILES['qat']}")
    for name, run in runs.items():
        precision = "float32" if name == "float" else "int8"
        content = convert(run, precision=precision)
        write_bytes(out / FILES[name], content)
        click.echo(f"{out / FILES[name]}: {len(content) / 2**20:.2f} MiB")
    return runs


def _report(out: Path, runs: dict) -> dict:
    """Scores the models on the test split, compares, measures, and draws."""
    from keras_bisenet.data import load_dataset
    from keras_bisenet.export.compare import compare
    from keras_bisenet.training.evaluation import score

    _step(6, "scoring on the test split", f"evaluate {out}/{FILES['qat']} --split test ...")
    dataset = load_dataset("streets", out / "data")
    samples = dataset.split("test")
    segmenters = {name: Segmenter(out / file) for name, file in FILES.items()}
    scores = {}
    for name, segmenter in segmenters.items():
        with progress_bar(f"scoring {name}", len(samples)) as bar:
            scores[name] = score(_class_ids(segmenter), dataset, samples, bar)

    _step(7, "checking the file against its model", f"check {out}/{FILES['qat']} --against ...")
    comparison = compare(out / FILES["qat"], out / "qat", split="test")

    _step(8, "measuring latency", f"bench {' '.join(str(out / f) for f in FILES.values())}")
    image, _ = dataset.read(samples[0])
    timings = measure(list(segmenters.values()), [image] * len(segmenters), runs=30, warmup=3)
    latency = {
        name: round(float(np.median([t.total for t in of_model])), 2)
        for name, of_model in zip(segmenters, timings)
    }
    sheet = _draw(dataset, samples, segmenters)
    with replacing(out / "report.png") as temporary:
        Image.fromarray(sheet).save(temporary)
    return {
        "miou": {name: found.miou for name, found in scores.items()},
        "agreement": comparison.agreement,
        "latency_ms": latency,
        "per_class": {name: found.to_json()["per_class"] for name, found in scores.items()},
        "check": comparison.to_json(),
        "split": "test",
        "images": len(samples),
        "runtime": runtime_name(),
        "cpu": cpu_name(),
    }


def _class_ids(segmenter):
    return lambda image: segmenter.segment(image).class_ids


def _draw(dataset, samples, segmenters) -> np.ndarray:
    labels = dataset.label_map
    rows = []
    for sample in samples[:: max(1, len(samples) // NUM_PICTURES)][:NUM_PICTURES]:
        image, truth = dataset.read(sample)
        answers = (truth, *(segmenters[name].segment(image).class_ids for name in ("float", "qat")))
        rows.append([image, *(overlay(image, ids, labels.palette, 0.65) for ids in answers)])
    titles = ("image", "truth", "float32", "int8 (QAT)")
    return contact_sheet(rows, titles, labels.names, labels.palette)


def _print(out: Path, report: dict) -> None:
    click.echo()
    click.echo(f"{'':<24}{'mIoU':>8}{'latency':>13}")
    for name, title in (("float", "float32"), ("ptq", "int8, post-training"), ("qat", "int8, QAT")):
        miou, latency = report["miou"][name], report["latency_ms"][name]
        click.echo(f"{title:<24}{miou:>8.4f}{latency:>10.1f} ms")
    click.echo(
        f"{report['agreement']:.2%} of the pixels are the same in the QAT model and its .tflite"
    )
    click.echo(
        f"{report['images']} test images, {report['runtime']}, {report['cpu']}; "
        f"{report['seconds']:.0f} s in all"
    )
    click.echo(
        f"Look at {out / 'report.png'}, and try: keras-bisenet run "
        f"{out / FILES['qat']} {out / 'data' / 'test'} -o {out / 'overlays'}"
    )


def _step(number: int, title: str, same_by_hand: str) -> None:
    click.echo(f"\n[{number}/8] {title}    (keras-bisenet {same_by_hand})")
