"""Writes a data set's labels as soft labels, so that its images can join a training by `--extra`.

    keras-bisenet dataset generate --out streets --train 400 --val 1 --test 1 --size 360x480
    python tools/masks_to_soft_labels.py streets --data-dir streets --out generated
    keras-bisenet train --dataset camvid --extra generated --extra-share 0.5 ...

Each image of the split goes to OUT/images, its labels to OUT/soft/NAME.npz: the array `p`, uint8
[h / 2, w / 2, N], how many of 2x2 pixels have a class, and nothing but 0 where none has any. The
data set's classes must be those of the one that is trained on, in the same order.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
import numpy as np
from PIL import Image

from keras_bisenet.data import load_dataset
from keras_bisenet.label_map import VOID

STRIDE = 2


@click.command()
@click.argument("dataset")
@click.option("--data-dir", required=True, type=click.Path(exists=True))
@click.option("--split", default="train", show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(dataset: str, data_dir: str, split: str, out: Path):
    """Write the images and soft labels of DATASET, a name that `--dataset` takes."""
    source = load_dataset(dataset, data_dir)
    samples = source.split(split)
    names = Counter(sample.image.stem for sample in samples)
    if twice := [name for name, count in names.items() if count > 1]:
        raise click.UsageError(f"{twice[0]}: several images have this name: give each its own")
    for folder in ("images", "soft"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for sample in samples:
        image, class_ids = source.read(sample)
        Image.fromarray(image).save(out / "images" / f"{sample.image.stem}.png")
        shares = shares_of(class_ids, source.label_map.num_classes)
        np.savez_compressed(out / "soft" / f"{sample.image.stem}.npz", p=shares)
    click.echo(f"{len(samples)} images with soft labels: {out}")


def shares_of(class_ids: np.ndarray, num_classes: int) -> np.ndarray:
    """How many pixels of each square of STRIDE have each class: uint8 `[rows, columns, N]`."""
    height, width = class_ids.shape
    edges = ((0, -height % STRIDE), (0, -width % STRIDE))
    squares = np.pad(class_ids, edges, constant_values=VOID)
    squares = squares.reshape(squares.shape[0] // STRIDE, STRIDE, -1, STRIDE, 1)
    return (squares == np.arange(num_classes)).sum(axis=(1, 3), dtype=np.uint8)


if __name__ == "__main__":
    main()
