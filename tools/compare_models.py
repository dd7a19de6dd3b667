"""The networks side by side: accuracy, cost, and what quantization and a device make of them.

    python tools/compare_models.py [--budget tools/compare_models.yaml] [--out comparison]
        [--dataset camvid --data-dir DIR] [--seeds N] [--models "V2, sum;V2, concat"]

Trains every model of the budget on the generated streets (or another data set), as often as there
are seeds, quantizes it after training, converts it, and scores both on val and test. What is
finished is kept in OUT and not done again, so an interrupted comparison goes on when it is called
again. Writes OUT/comparison.md, a table of what is there, and OUT/comparison.svg.

Latency is measured at the end, of all int8 files in turns on one thread at --latency-size.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from html import escape
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import click
import numpy as np
import yaml

from keras_bisenet.cli.options import SIZE
from keras_bisenet.console import log_on_terminal
from keras_bisenet.files import write_bytes, write_json, write_text

HERE = Path(__file__).parent
COST_SIZE = (512, 1024)
TRAINING = (  # what a budget says to `keras-bisenet train`
    "size",
    "epochs",
    "batch_size",
    "optimizer",
    "learning_rate",
    "precision",
    "full_boosters",
)


@click.command()
@click.option("--budget", type=click.Path(exists=True), default=HERE / "compare_models.yaml")
@click.option("--out", type=click.Path(path_type=Path), default="comparison", show_default=True)
@click.option("--dataset", default="streets", show_default=True)
@click.option("--data-dir", type=click.Path())
@click.option("--seeds", type=int, help="[the budget's]")
@click.option("--models", help="Some of the budget's, separated by ;")
@click.option("--latency-size", type=SIZE, default="256x512", show_default=True)
@click.option("--latency/--no-latency", default=True, show_default=True)
@click.option("--finished", is_flag=True, help="Train nothing: a table of what is finished.")
def main(budget, out, dataset, data_dir, seeds, models, latency_size, latency, finished):
    """Compare the networks of a budget."""
    plan = yaml.safe_load(Path(budget).read_text(encoding="utf-8"))
    spent, wanted = plan["budget"], plan["models"]
    if models:
        labels = models.split(";")
        unknown = [label for label in labels if label not in wanted]
        if unknown:
            raise click.UsageError(f"--models: {unknown[0]} is none of {'; '.join(wanted)}")
        wanted = {label: wanted[label] for label in labels}
    check_budget(out, dataset, spent, plan["models"])
    data_dir = data_dir or make_streets(out, spent["streets"])
    with log_on_terminal():
        for seed in range(0 if finished else seeds or spent["seeds"]):
            for label, options in wanted.items():
                place = out / f"{slug(label)}-{seed}"
                if not (place / "result.json").exists():
                    click.echo(f"=== {label}, seed {seed}")
                    one(place, options, spent, dataset, data_dir, seed)
    results = {label: read_results(out, label) for label in wanted}
    results = {label: found for label, found in results.items() if found}
    costs = {label: cost(wanted[label]) for label in results}
    measured = latencies(out, results, latency_size) if latency else None
    write_text(out / "comparison.md", table(results, costs, measured, latency_size))
    if measured:
        write_text(out / "comparison.svg", picture(results, measured))
    click.echo((out / "comparison.md").read_text())


def check_budget(out: Path, dataset: str, spent: dict, models: dict) -> None:
    """A comparison goes on with the budget that it began with, in `OUT/budget.json`. Seeds and
    models may be added."""
    path = out / "budget.json"
    budget = {name: value for name, value in spent.items() if name != "seeds"}
    begun = {"dataset": dataset, "budget": budget, "models": {}}
    if path.exists():
        begun = json.loads(path.read_text())
    models = {**begun["models"], **models}
    now = {"dataset": dataset, "budget": budget, "models": models}
    if now != {**begun, "models": {**models, **begun["models"]}}:
        raise click.ClickException(
            f"{path}: a comparison with another budget is here: choose another --out"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, now)


def make_streets(out: Path, streets: dict) -> Path:
    from keras_bisenet.data.streets import generate_streets
    from keras_bisenet.training.config import parse_size

    folder = out / "streets"
    if not (folder / "streets.json").exists():
        counts = {split: streets[split] for split in ("train", "val", "test")}
        generate_streets(folder, counts=counts, size=parse_size(streets["size"]))
    return folder


def slug(label: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in label.lower()).strip("-")


def one(place: Path, options: dict, spent: dict, dataset: str, data_dir, seed: int) -> None:
    """Trains, quantizes, converts and scores one model; `result.json` is written last."""
    import keras
    import tf_keras

    from keras_bisenet.data import load_dataset
    from keras_bisenet.export.convert import convert
    from keras_bisenet.quantization.quantizer import quantize
    from keras_bisenet.segmenters import open_segmenter
    from keras_bisenet.training.config import QuantizationConfig, TrainingConfig, make_config
    from keras_bisenet.training.evaluation import score
    from keras_bisenet.training.run import Run
    from keras_bisenet.training.trainer import train

    shutil.rmtree(place, ignore_errors=True)
    training = {name: spent[name] for name in TRAINING if name in spent}
    values = {"dataset": dataset, "data_dir": str(data_dir), "seed": seed, **training, **options}
    config = make_config(TrainingConfig, {"validate_every": spent["epochs"], **values})
    data = load_dataset(dataset, data_dir)
    run = Run.create(place / "float", config, data.label_map)
    train(config, run)
    quantization = QuantizationConfig(mode="ptq", calibration_images=spent["calibration_images"])
    int8 = Run.create(place / "ptq", config, data.label_map, quantization)
    quantize(run, int8, quantization)
    write_bytes(place / "int8.tflite", convert(int8))
    result = {}
    for name, path in (("float", run.path), ("int8", place / "int8.tflite")):
        segment = open_segmenter(path, data.label_map)
        for split in ("val", "test"):
            result[f"{name}_{split}"] = score(segment, data, data.split(split)).miou
    write_json(place / "result.json", result)
    keras.utils.clear_session()
    tf_keras.backend.clear_session()


def cost(options: dict):
    """Parameters and MACs of a network for 19 classes at 512x1024."""
    from keras_bisenet.models import build_model
    from keras_bisenet.models.cost import cost_by_part

    name, arguments = options.get("model", "bisenetv2"), options.get("model_options", {})
    return cost_by_part(build_model(name, 19, (*COST_SIZE, 3), **arguments))["total"]


def read_results(out: Path, label: str) -> list[dict]:
    return [
        json.loads(path.read_text())
        for path in sorted(out.glob(f"{slug(label)}-[0-9]/result.json"))
    ]


def latencies(out: Path, results: dict, size: tuple[int, int]) -> dict[str, float]:
    """Milliseconds of each model's int8 file at `size`, in turns, on one thread: the shortest of
    40 runs, which other work on the machine disturbs least."""
    from keras_bisenet.export.convert import convert
    from keras_bisenet.runtime.bench import measure, synthetic_image
    from keras_bisenet.runtime.segmenter import Segmenter
    from keras_bisenet.training.run import Run

    segmenters = []
    for label in results:
        path = out / f"{slug(label)}-{size[0]}x{size[1]}.tflite"
        if not path.exists():
            write_bytes(path, convert(Run.open(out / f"{slug(label)}-0" / "ptq"), size=size))
        segmenters.append(Segmenter(path, threads=1))
    found = measure(segmenters, [synthetic_image(size)] * len(segmenters), runs=40, warmup=3)
    shortest = [min(timing.invoke for timing in timings) for timings in found]
    return dict(zip(results, shortest))


def table(results: dict, costs: dict, latency: dict | None, size: tuple[int, int]) -> str:
    columns = ["network", "parameters", "MACs", "val mIoU, %", "test mIoU, %", "int8 test mIoU, %"]
    if latency:
        columns.append(f"int8 ms at {size[0]}x{size[1]}")
    columns.append("seeds")
    lines = [f"| {' | '.join(columns)} |", "|" + len(columns) * "---|"]
    for label, found in results.items():
        cells = [
            label,
            f"{costs[label].parameters / 1e6:.3f} M",
            f"{costs[label].macs / 1e9:.2f} G",
            *(spread(found, key) for key in ("float_val", "float_test", "int8_test")),
            *([f"{latency[label]:.1f}"] if latency else []),
            str(len(found)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def spread(found: list[dict], key: str) -> str:
    """The mean over the seeds, and the lowest and highest."""
    values = [100 * result[key] for result in found]
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def picture(results: dict, latency: dict) -> str:
    """mIoU on test of the int8 files over their latency, as SVG: means, and the seeds' spread."""
    if not results:
        raise click.ClickException("nothing is finished yet")
    width, height, left, top, bottom = 760, 440, 60, 20, 50
    mious = {
        label: [100 * result["int8_test"] for result in found] for label, found in results.items()
    }
    right = 1.25 * max(latency[label] for label in results)
    low = min(min(values) for values in mious.values()) - 1
    high = max(max(values) for values in mious.values()) + 1

    def at(x, y):
        across = left + (width - left - 20) * x / right
        return across, top + (height - top - bottom) * (high - y) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>',
        f'<path d="M{left} {top}V{height - bottom}H{width - 20}" fill="none" stroke="#888"/>',
        f'<text x="{width / 2}" y="{height - 12}" text-anchor="middle">int8 latency, ms</text>',
        f'<text x="16" y="{height / 2}" text-anchor="middle" '
        f'transform="rotate(-90 16 {height / 2})">int8 test mIoU, %</text>',
    ]
    for y in ticks(low, high):
        text = f'y="{at(0, y)[1] + 4:.0f}" text-anchor="end">{y:g}</text>'
        parts.append(f'<text x="{left - 6}" {text}')
    for x in ticks(0, right):
        place = at(x, low)
        text = f'y="{place[1] + 16:.0f}" text-anchor="middle">{x:g}</text>'
        parts.append(f'<text x="{place[0]:.0f}" {text}')
    places = {label: at(latency[label], np.mean(values)) for label, values in mious.items()}
    for label, (x, y) in places.items():
        above, below = (at(0, edge(mious[label]))[1] for edge in (max, min))
        parts.append(f'<path d="M{x:.1f} {above:.1f}V{below:.1f}" stroke="#9ecae1"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#1f77b4"/>')
    for label, (x, y) in labels_apart(places, height - bottom).items():
        point = places[label]
        parts.append(
            f'<path d="M{point[0]:.1f} {point[1]:.1f}L{x - 2:.1f} {y - 4:.1f}" stroke="#ccc"/>'
        )
        parts.append(f'<text x="{x:.1f}" y="{y:.1f}">{escape(label)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two, six at most."""
    steps = (digit * 10**power for power in range(-2, 4) for digit in (1, 2, 5))
    step = next(step for step in steps if (high - low) / step <= 6)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def labels_apart(places: dict, lowest: float) -> dict:
    """Where labels stand right of their points without covering one another or a point."""
    line, letter = 14, 6.2
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in places.values()]
    found = {}
    for label, (x, y) in sorted(places.items(), key=lambda item: item[1][1]):
        for away in range(2 * len(places)):
            for up in (-1, 1):
                left, base = x + 9, y + 4 + up * away * line / 2
                box = (left, base - line + 3, left + letter * len(label), base + 3)
                apart = [
                    box[2] < other[0] or other[2] < box[0] or box[3] < other[1] or other[3] < box[1]
                    for other in taken
                ]
                if all(apart) and line < base < lowest:
                    break
            else:
                continue
            break
        found[label] = left, base
        taken.append(box)
    return found


if __name__ == "__main__":
    main()
