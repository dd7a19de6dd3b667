"""Writes a data set's labels as soft labels, so that its images can join a training by `--extra`.

    keras-bisenet dataset generate --out streets --train 400 --val 1 --test 1 --size 360x480
    python tools/masks_to_soft_labels.py streets --data-dir streets --out generated
    keras-bisenet train --dataset camvid --extra generated --extra-share 0.5 ...

Each image of the split goes to OUT/images, its labels to OUT/soft/NAME.npz: the array `p`, uint8
[h / 2, w / 2, N], 1 for a pixel's class, and nothing but 0 where it has none. The data set's
classes must be those of the one that is trained on, in the same order.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image

from keras_bisenet.data import load_dataset

STRIDE = 2


@click.command()
@click.argument("dataset")
@click.option("--data-dir", required=True, type=click.Path(exists=True))
@click.option("--split", default="train", show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(dataset: str, data_dir: str, split: str, out: Path):
    """Write the images and soft labels of DATASET, a name that `--dataset` takes."""
    source = load_dataset(dataset, data_dir)
    for folder in ("images", "soft"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    samples = source.split(split)
    for sample in samples:
        image, class_ids = source.read(sample)
        Image.fromarray(image).save(out / "images" / f"{sample.image.stem}.png")
        classes = np.arange(len(source.label_map.names))
        shares = (class_ids[::STRIDE, ::STRIDE, None] == classes).astype(np.uint8)
        np.savez_compressed(out / "soft" / f"{sample.image.stem}.npz", p=shares)
    click.echo(f"{len(samples)} images with soft labels: {out}")


if __name__ == "__main__":
    main()
