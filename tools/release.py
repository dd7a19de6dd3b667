"""Makes the models that come with the package: trains, quantizes, converts, scores, writes a table.

    python tools/release.py tools/release_streets.yaml --data-dir DIR --work WORK [--install]

Every step is a command of `keras-bisenet`, printed before it runs. Started again, it goes on
where it was: finished steps are left out, interrupted ones resumed. Choices (the best epoch) are
made on the validation split; the test split is scored at the end, for WORK/table.md,
WORK/table.json and WORK/answers.png. `--install` then puts the float and the int8 model into the
package.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import yaml
from PIL import Image

from keras_bisenet.data import load_dataset
from keras_bisenet.files import replacing, write_json, write_text
from keras_bisenet.imaging.drawing import contact_sheet
from keras_bisenet.pretrained import pretrained_model, pretrained_weights
from keras_bisenet.runtime.golden import golden_path
from keras_bisenet.runtime.segmenter import Segmenter
from keras_bisenet.training.metrics import Scores, confusion_matrix
from keras_bisenet.training.run import Run


@click.command()
@click.argument("recipe", type=click.Path(exists=True, path_type=Path))
@click.option("--data-dir", required=True, type=click.Path(exists=True))
@click.option("--work", required=True, type=click.Path(path_type=Path), help="Where runs go.")
@click.option("--extra", type=click.Path(exists=True), help="Images for runs that ask for extra.")
@click.option("--install", is_flag=True, help="Put the models into the package.")
def main(recipe: Path, data_dir: str, work: Path, extra: str | None, install: bool):
    """Follow RECIPE, a YAML file, to models and their scores."""
    recipe = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    for stage in recipe["training"]:
        if stage.get("extra"):
            if not extra:
                raise click.UsageError(
                    f"{stage['run']} has extra images: give their folder by --extra"
                )
            stage = {**stage, "extra": extra}
        train(stage, recipe["dataset"], data_dir, work)
    float_run = work / recipe["training"][-1]["run"]
    models = {"float": float_run}
    for stage in recipe["quantization"]:
        models[stage["run"]] = quantized_file(stage, float_run, data_dir, work)
    dataset = ("--dataset", recipe["dataset"], "--data-dir", data_dir)
    # Two recipes in one folder have two float models.
    files = {"float": work / f"{float_run.name}.json"}
    scores = {
        name: score(model, dataset, files.get(name, work / f"{name}.json"))
        for name, model in models.items()
    }
    write_table(recipe, scores, work)
    draw_answers(models[recipe["install"]], recipe["dataset"], data_dir, work / "answers.png")
    if install:
        name = recipe["name"]
        shutil.copyfile(Run(float_run).model_file, pretrained_weights(name))
        model = models[recipe["install"]]
        shutil.copyfile(model, pretrained_model(name))
        shutil.copyfile(golden_path(model), golden_path(pretrained_model(name)))


def train(stage: dict, dataset: str, data_dir: str, work: Path) -> None:
    """One training run; `weights` and `teacher` may name runs in `work`, `backend` Keras'.

    A run that something else makes (`made_by`) must be there.
    """
    run = Run(work / stage["run"])
    if is_finished(run):
        return
    if "made_by" in stage:
        raise click.UsageError(f"{run.path}: not there yet: make it by {stage['made_by']}")
    if run.config_file.is_file():
        keras_bisenet("train", "--run", run.path, "--resume", backend=stage.get("backend"))
        return
    options = {name: value for name, value in stage.items() if name not in ("run", "backend")}
    for name in ("weights", "teacher"):
        if (work / str(options.get(name))).is_dir():
            options[name] = str(work / options[name])
    config = work / f"{stage['run']}.yaml"
    write_text(config, yaml.safe_dump({"dataset": dataset, "data_dir": data_dir, **options}))
    keras_bisenet("train", "--run", run.path, "--config", config, backend=stage.get("backend"))


def quantized_file(stage: dict, float_run: Path, data_dir: str, work: Path) -> Path:
    """A quantized run, converted to `WORK/RUN.tflite`; returns the file."""
    run = Run(work / stage["run"])
    options = [
        text
        for name, value in stage.items()
        if name != "run"
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]
    if not is_finished(run):
        resume = ["--resume"] if run.config_file.is_file() else ["--data-dir", data_dir]
        keras_bisenet("quantize", float_run, "--run", run.path, *options, *resume)
    file = work / f"{stage['run']}.tflite"
    if not file.is_file():
        keras_bisenet("convert", run.path, "-o", file)
    return file


def is_finished(run: Run) -> bool:
    if not run.config_file.is_file():
        return False
    if run.quantization and run.quantization.mode == "ptq":
        return run.calibration_file.is_file()
    rows = run.read_metrics()
    return bool(rows) and rows[-1]["epoch"] == (run.quantization or run.config).epochs


def score(model: Path, dataset: tuple[str, ...], file: Path) -> dict:
    """What `evaluate` finds on the test split, kept in `file`."""
    if not file.is_file():
        keras_bisenet("evaluate", model, *dataset, "--split", "test", "--json", file)
    return json.loads(file.read_text(encoding="utf-8"))


def write_table(recipe: dict, scores: dict[str, dict], work: Path) -> None:
    """The scores by model and class, in percent, and what they cost."""
    classes = list(next(iter(scores.values()))["per_class"])
    lines = [
        "| test split | " + " | ".join(scores) + " |",
        "|---|" + "---|" * len(scores),
        "| **mIoU** | " + " | ".join(f"**{100 * s['miou']:.2f}**" for s in scores.values()) + " |",
    ]
    for name in classes:
        row = (f"{100 * found['per_class'][name]:.1f}" for found in scores.values())
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    runs = [Run(work / stage["run"]) for stage in recipe["training"]]
    hours = {run.path.name: round(training_hours(run), 2) for run in runs}
    validation = {run.path.name: run.best_miou() for run in runs}
    lines += [
        "",
        f"Validation mIoU: {', '.join(f'{n} {100 * v:.2f}' for n, v in validation.items())}. "
        f"Hours of training: {', '.join(f'{n} {h}' for n, h in hours.items())}, on "
        f"{os.cpu_count()} cores ({platform.machine()}).",
    ]
    write_text(work / "table.md", "\n".join(lines) + "\n")
    write_json(
        work / "table.json",
        {"recipe": recipe, "scores": scores, "hours": hours, "validation": validation},
    )
    click.echo((work / "table.md").read_text(encoding="utf-8"))


def draw_answers(model: Path, dataset: str, data_dir: str, path: Path) -> None:
    """The model's answers to the test images that it does best, middling and worst on.

    Without the images: whoever has the data set sees them with `keras-bisenet run`.
    """
    source, segmenter = load_dataset(dataset, data_dir), Segmenter(model)
    labels, found = source.label_map, []
    for sample in source.split("test"):
        image, truth = source.read(sample)
        ids = segmenter.segment(image).class_ids
        scores = Scores(labels.names, confusion_matrix(truth, ids, labels.num_classes))
        found.append((scores.miou, sample.image.stem, ids))
    found.sort(key=lambda answer: -answer[0])
    middle = len(found) // 2
    rows = []
    for of_rank in (found[:3], found[middle - 1 : middle + 2], found[-3:]):
        click.echo(", ".join(f"{name} {miou:.4f}" for miou, name, _ in of_rank))
        rows.append([np.array(labels.palette, np.uint8)[ids] for _, _, ids in of_rank])
    sheet = contact_sheet(rows, ("", "", ""), labels.names, labels.palette)
    with replacing(path) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")


def training_hours(run: Run) -> float:
    """Hours of training, from the speeds of the epochs that were validated."""
    config = run.config
    dataset = load_dataset(config.dataset, config.data_dir, hold_out=config.hold_out)
    images = len(dataset.split("train"))
    rows, hours, before = run.read_metrics(), 0.0, 0
    for row in rows:
        hours += (row["epoch"] - before) * images / row["images_per_second"] / 3600
        before = row["epoch"]
    return hours


def keras_bisenet(*arguments, backend: str | None = None) -> None:
    """Runs a command; its failure is this program's."""
    words = [str(argument) for argument in arguments]
    chosen = {"KERAS_BACKEND": backend} if backend else {}
    shown = [*(f"{name}={value}" for name, value in chosen.items()), "keras-bisenet", *words]
    click.echo(f"\n$ {' '.join(shown)}")
    program = "from keras_bisenet.cli import main; main()"
    environment = {**os.environ, **chosen}
    code = subprocess.run([sys.executable, "-c", program, *words], env=environment).returncode
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main()
