"""`keras-bisenet bench`: how long `.tflite` files take on this machine, side by side."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence

import click
import numpy as np

from keras_bisenet.cli.options import MODEL, SIZE, delegate_options
from keras_bisenet.files import check_output, write_json
from keras_bisenet.imaging.reading import read_image
from keras_bisenet.runtime.bench import cpu_name, measure, synthetic_image
from keras_bisenet.runtime.interpreter import default_threads, runtime_name
from keras_bisenet.runtime.segmenter import Segmenter, Timings

STAGES = ("prepare", "invoke", "finish", "total")
"""What is measured: the attributes of `Timings`."""

ROWS = {"invoke": "network alone", "total": "image to mask"}
"""The stages that the table shows, and their names in it."""


@click.command("bench")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=MODEL)
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: CPUs, at most 4]")
@click.option(
    "--runs", type=click.IntRange(1), default=50, show_default=True, help="Timed runs per model."
)
@click.option(
    "--warmup", type=click.IntRange(0), default=5, show_default=True, help="Runs before those."
)
@click.option("--size", type=SIZE, help="Height x width, for files whose input has open sides.")
@delegate_options
@click.option("--image", metavar="FILE", help="The image to segment.  [default: a generated one]")
@click.option("--json", "json_file", metavar="FILE", help="Also write the figures for programs.")
def command(models, threads, runs, warmup, size, image, json_file, delegate, delegate_options):
    """Measure the latency of .tflite files on this machine, in milliseconds.

    `network alone` is the interpreter's invoke; `image to mask` adds what goes before and
    after: from an image in memory to class ids at the image's own size. Several models take
    turns, run by run, so that whatever else the machine does meets all of them alike.
    """
    if json_file:
        check_output(json_file, "--json")
    picture = read_image(image) if image else None
    segmenters = [
        Segmenter(
            model, threads=threads, delegate=delegate, delegate_options=delegate_options, size=size
        )
        for model in models
    ]
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
        "delegate_options": delegate_options,
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
        "bytes": segmenter.file.size,
        "precision": info.record.precision if info.record else None,
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
