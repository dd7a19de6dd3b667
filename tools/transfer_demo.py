"""What the packaged weights are worth to someone with 50 images of their own.

    python tools/transfer_demo.py --data-dir CamVid --work WORK

Makes a small data set in the layout of `--dataset folder`: 50 images of CamVid's validation split,
from which the packaged weights learned nothing, with three classes (ground, traffic, the rest) in
place of eleven; 20 others for validation, and the test split. Trains on it twice, from random
weights and from the packaged ones, with the same configuration, and scores both on the test split.
WORK/table.md has the result, WORK/answers.png some answers.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import numpy as np
from PIL import Image
from release import keras_bisenet

from keras_bisenet.data import load_dataset
from keras_bisenet.data.camvid import CAMVID
from keras_bisenet.files import replacing, write_json, write_text
from keras_bisenet.imaging.drawing import contact_sheet, overlay
from keras_bisenet.label_map import VOID, LabelMap

CLASSES = {
    "ground": ("Road", "Pavement"),
    "traffic": ("Car", "Pedestrian", "Bicyclist"),
    "rest": ("Sky", "Building", "Pole", "Tree", "SignSymbol", "Fence"),
}
COLORS = ((120, 75, 140), (225, 40, 60), (90, 145, 50))
NUM_TRAIN, NUM_VAL = 50, 20
STARTS = {"random": [], "packaged": ["--weights", "camvid"]}


@click.command()
@click.option("--data-dir", required=True, type=click.Path(exists=True), help="CamVid.")
@click.option("--work", required=True, type=click.Path(path_type=Path))
@click.option("--epochs", default=16, show_default=True)
@click.option("--size", default="256x320", show_default=True, help="Of the crops.")
def main(data_dir: str, work: Path, epochs: int, size: str):
    """Train on 50 images, with and without the packaged weights."""
    data = work / "data"
    if not data.is_dir():
        make_data(data_dir, data)
    options = ["--dataset", "folder", "--data-dir", data, "--size", size, "--batch-size", 5]
    options += ["--optimizer", "adamw", "--learning-rate", 0.001, "--epochs", epochs]
    scores = {}
    for name, start in STARTS.items():
        run, file = work / name, work / f"{name}.json"
        if not file.is_file():
            if run.is_dir():
                shutil.rmtree(run)
            command = ["train", "--run", run, *options, *start, "--validate-every", 4]
            keras_bisenet(*command, "--no-boosters")
            keras_bisenet("evaluate", run, "--size", "384x480", "--split", "test", "--json", file)
        scores[name] = json.loads(file.read_text(encoding="utf-8"))
    write_table(scores, work, epochs)
    draw(data, work)


def make_data(camvid: str, data: Path) -> None:
    """Writes the small data set; interrupted, it is written anew."""
    source = load_dataset("camvid", camvid)
    mapping = np.full(256, VOID, np.uint8)
    for i, names in enumerate(CLASSES.values()):
        mapping[[CAMVID.names.index(name) for name in names]] = i
    val = source.split("val")
    chosen = np.linspace(0, len(val) - 1, NUM_TRAIN + NUM_VAL).round().astype(int)
    is_val = np.isin(np.arange(len(chosen)), np.linspace(1, len(chosen) - 2, NUM_VAL).astype(int))
    splits = {
        "train": [val[i] for i in chosen[~is_val]],
        "val": [val[i] for i in chosen[is_val]],
        "test": source.split("test"),
    }
    unfinished = data.with_name(data.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    for split, samples in splits.items():
        images, masks = (unfinished / split / kind for kind in ("images", "masks"))
        images.mkdir(parents=True)
        masks.mkdir()
        for sample in samples:
            _, ids = source.read(sample)
            shutil.copyfile(sample.image, images / sample.image.name)
            Image.fromarray(mapping[ids]).save(masks / f"{sample.image.stem}.png")
    write_text(unfinished / "classes.txt", "".join(f"{name}\n" for name in CLASSES))
    unfinished.rename(data)


def write_table(scores: dict[str, dict], work: Path, epochs: int) -> None:
    lines = [
        f"| test split, after {epochs} epochs of {NUM_TRAIN} images | " + " | ".join(scores) + " |",
        "|---|" + "---|" * len(scores),
        "| **mIoU** | " + " | ".join(f"**{100 * s['miou']:.2f}**" for s in scores.values()) + " |",
    ]
    for name in CLASSES:
        row = (f"{100 * found['per_class'][name]:.1f}" for found in scores.values())
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    write_text(work / "table.md", "\n".join(lines) + "\n")
    write_json(work / "table.json", scores)
    click.echo((work / "table.md").read_text(encoding="utf-8"))


def draw(data: Path, work: Path) -> None:
    """Images, truth and both answers."""
    from keras_bisenet.segmenters import open_segmenter

    dataset = load_dataset("folder", data)
    labels = LabelMap(tuple(CLASSES), COLORS)
    segment = {
        name: open_segmenter(work / name, dataset.label_map, size=(384, 480)) for name in STARTS
    }
    rows = []
    for sample in dataset.split("test")[20::60]:
        image, truth = dataset.read(sample)
        answers = (truth, *(answer(image) for answer in segment.values()))
        rows.append([image, *(overlay(image, ids, labels.palette, 0.65) for ids in answers)])
    titles = ("image", "truth", *(f"from {name} weights" for name in STARTS))
    sheet = contact_sheet(rows, titles, labels.names, labels.palette)
    with replacing(work / "answers.png") as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")


if __name__ == "__main__":
    main()
