"""`keras-bisenet bench`: how long `.tflite` files take on this machine, side by side."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from PIL import Image

from keras_bisenet.files import write_json
from keras_bisenet.imaging.reading import read_image
from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.progress import progress_bar
from keras_bisenet.runtime.interpreter import default_threads, runtime_name
from keras_bisenet.runtime.segmenter import Segmenter, Timings

STAGES = ("prepare", "invoke", "finish", "total")
"""What is measured: the attributes of `Timings`."""

ROWS = {"invoke": "network alone", "total": "image to mask"}
"""The stages that the table shows, and their names in it."""


@click.command("bench")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: CPUs, at most 4]")
@click.option(
    "--runs", type=click.IntRange(1), default=50, show_default=True, help="Timed runs per model."
)
@click.option(
    "--warmup", type=click.IntRange(0), default=5, show_default=True, help="Runs before those."
)
@click.option("--delegate", metavar="edgetpu|PATH", help="Edge TPU, or a TFLite delegate library.")
@click.option("--image", metavar="FILE", help="The image to segment.  [default: a generated one]")
@click.option("--json", "json_file", metavar="FILE", help="Also write the figures for programs.")
def command(models, threads, runs, warmup, delegate, image, json_file):
    """Measure the latency of .tflite files on this machine, in milliseconds.

    `network alone` is the interpreter's invoke; `image to mask` adds what goes before and
    after: from an image in memory to class ids at the image's own size. Several models take
    turns, run by run, so that whatever else the machine does meets all of them alike.
    """
    picture = read_image(image) if image else None
    segmenters = []
    for model in models:
        read_model_file(model)  # an old runtime takes a damaged file on trust, and crashes
        segmenters.append(Segmenter(model, threads=threads, delegate=delegate))
    pictures = [
        synthetic_image(segmenter.info.size) if picture is None else picture
        for segmenter in segmenters
    ]
    timings = measure(segmenters, pictures, runs, warmup)

    report = {
        "runtime": runtime_name(),
        "cpu": cpu_name(),
        "machine": platform.machine(),
        "threads": threads or default_threads(),
        "delegate": delegate,
        "runs": runs,
        "warmup": warmup,
        "unit": "ms",
        "models": [
            _figures(model, segmenter, shown.shape[:2], of_model, timings[0])
            for model, segmenter, shown, of_model in zip(models, segmenters, pictures, timings)
        ],
    }
    click.echo(_table(report))
    if json_file:
        write_json(json_file, report)


def measure(
    segmenters: Sequence[Segmenter], images: Sequence[np.ndarray], runs: int, warmup: int
) -> list[list[Timings]]:
    """Runs the models in turns (A B A B ...), each on its image.

    Returns:
        For each model the timings of its `runs`, those of the `warmup` left out.
    """
    timings: list[list[Timings]] = [[] for _ in segmenters]
    with progress_bar("measuring", warmup + runs) as update:
        for run in range(warmup + runs):
            for segmenter, image, of_model in zip(segmenters, images, timings):
                segmenter.segment(image)
                if run >= warmup:
                    of_model.append(segmenter.timings)
            update(1)
    return timings


def synthetic_image(size: tuple[int, int]) -> np.ndarray:
    """Soft blobs of colour, always the same: RGB uint8 [h, w, 3].

    Noise would be as fast for the network, but would give a mask all of borders between
    classes, which takes longer to bring to the image's size than a photograph's.
    """
    blobs = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blobs).resize(size[::-1], Image.BICUBIC))


def cpu_name() -> str:
    """The processor's or the board's name, as far as the system tells."""
    board = Path("/proc/device-tree/model")  # "Raspberry Pi 4 Model B Rev 1.4"
    cpuinfo = Path("/proc/cpuinfo")
    if board.exists():
        return board.read_text(errors="replace").strip("\0\n ")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _figures(
    model: str,
    segmenter: Segmenter,
    image_size: tuple[int, int],
    timings: Sequence[Timings],
    first: Sequence[Timings],
) -> dict:
    """One model's figures; `first` are the timings that the ratios refer to."""
    info = segmenter.info
    figures = {
        "path": model,
        "bytes": os.path.getsize(model),
        "precision": info.record["precision"] if info.record else None,
        "input": {"height": info.size[0], "width": info.size[1], "dtype": info.input_dtype},
        "image": {"height": image_size[0], "width": image_size[1]},
    }
    for stage in STAGES:
        values = [getattr(timing, stage) for timing in timings]
        median = statistics.median(values)
        figures[stage] = {
            "min": min(values),
            "median": median,
            "p90": float(np.percentile(values, 90)),
            "max": max(values),
            "ratio_to_first": median
            / statistics.median(getattr(timing, stage) for timing in first),
        }
    return figures


def _table(report: dict) -> str:
    threads = report["threads"]
    lines = [
        f"{report['runtime']}, {threads} thread{'' if threads == 1 else 's'}"
        + (f", delegate {report['delegate']}" if report["delegate"] else "")
        + f", {report['cpu']} ({report['machine']}); {report['runs']} runs, in ms",
        "",
    ]
    columns = ("min", "median", "p90", "max")
    several = len(report["models"]) > 1
    for model in report["models"]:
        size = model["input"]
        lines.append(
            f"{model['path']}  {size['height']}x{size['width']} {size['dtype']}, "
            f"{model['bytes'] / 1e6:.2f} MB"
        )
        lines.append(" " * 15 + "".join(f"{column:>10}" for column in columns))
        for stage, name in ROWS.items():
            figures = model[stage]
            line = f"  {name:<13}" + "".join(f"{figures[column]:>10.2f}" for column in columns)
            if several:
                line += f"   {figures['ratio_to_first']:.2f} x the first"
            lines.append(line)
    return "\n".join(lines)
