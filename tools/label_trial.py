"""Whether images that `dataset label` ranks first teach a model more than others do.

    python tools/label_trial.py CAMVID OUT [--seeds 3]

CAMVID is the 11-class release. For each seed: a model is trained on 25 images drawn at random, and
it ranks the other training images by its uncertainty. Two models are then trained anew on 50: those
25 and the 25 least certain, or those and 25 others drawn at random. Prints the validation mIoU of
all, its mean, and the difference between the two with its standard deviation over the seeds. OUT
keeps the runs; what is there is not trained again.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import click
import numpy as np

from keras_bisenet.data import load_dataset
from keras_bisenet.data.drafts import draft_of
from keras_bisenet.progress import progress_bar
from keras_bisenet.segmenters import open_probabilities
from keras_bisenet.training.config import TrainingConfig, make_config
from keras_bisenet.training.run import Run
from keras_bisenet.training.trainer import train

FIRST = MORE = 25


@click.command()
@click.argument("camvid", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seeds", default=3, show_default=True)
@click.option("--epochs", default=80, show_default=True, help="Of 25 images; half as many of 50.")
@click.option("--size", default="192x256", show_default=True)
def main(camvid, out, seeds, epochs, size):
    """Compare images chosen by uncertainty with images chosen at random."""
    dataset = load_dataset("camvid", camvid)
    pool = dataset.split("train")
    scores = {"25": [], "25 + 25 at random": [], "25 + 25 by uncertainty": []}
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(pool))
        first, rest = [pool[i] for i in order[:FIRST]], [pool[i] for i in order[FIRST:]]
        options = {"size": size, "seed": seed}

        def trained(name, samples, epochs, seed=seed, options=options):
            return _trained(out / f"{seed}_{name}", dataset, samples, epochs, options)

        base, miou = trained("first", first, epochs)
        scores["25"].append(miou)
        scores["25 + 25 at random"].append(trained("random", first + rest[:MORE], epochs // 2)[1])
        ranked = _ranked(base, rest, out / f"{seed}_ranking.json")
        miou = trained("uncertain", first + ranked[:MORE], epochs // 2)[1]
        scores["25 + 25 by uncertainty"].append(miou)
        click.echo({name: values[-1] for name, values in scores.items()})
    click.echo("| trained on | " + " | ".join(f"seed {s}" for s in range(seeds)) + " | mean |")
    click.echo("|---|" + "---|" * (seeds + 1))
    for name, values in scores.items():
        cells = [f"{value:.1%}" for value in (*values, float(np.mean(values)))]
        click.echo(f"| {name} | " + " | ".join(cells) + " |")
    gains = np.subtract(scores["25 + 25 by uncertainty"], scores["25 + 25 at random"])
    click.echo(f"uncertainty less random: {gains.mean():+.1%}, deviation {gains.std(ddof=1):.1%}")


def _trained(path: Path, dataset, samples, epochs: int, options) -> tuple[Path, float]:
    """A run on some samples, scored on every second validation image."""
    data = path.with_name(f"{path.name}_data")
    data.mkdir(parents=True, exist_ok=True)
    chosen = {"train": samples, "val": dataset.split("val")[::2]}
    for split, listed in chosen.items():
        lines = [f"{sample.image.resolve()},{sample.mask.resolve()}" for sample in listed]
        (data / f"{split}.txt").write_text("\n".join(lines) + "\n")
    labels = dataset.label_map
    rows = [f"{name},{number}" for name, number in zip(labels.names, labels.file_ids)]
    rows += [f"void,{number}" for number in labels.ignored_ids if number != 255]
    (data / "classes.csv").write_text("\n".join(["name,id", *rows]) + "\n")
    values = {
        "dataset": "folder",
        "data_dir": str(data),
        "model_options": {"alpha": 0.25, "head_width": 32},
        "epochs": epochs,
        "validate_every": epochs,
        "optimizer": "adamw",
        "batch_size": 5,
        **options,
    }
    run = Run(path)
    if not run.read_metrics():
        config = make_config(TrainingConfig, values, "label_trial")
        train(config, Run.create(path, config, labels) if not run.config_file.is_file() else run)
    return path, run.best_miou()


def _ranked(run: Path, samples, kept: Path) -> list:
    """Samples by the run's uncertainty, the least certain first."""
    if not kept.is_file():
        _, probabilities = open_probabilities(run)
        with progress_bar("ranking", len(samples)) as bar:
            values = []
            for sample in samples:
                values.append(draft_of(sample.image, probabilities).uncertainty)
                bar(1)
        kept.write_text(json.dumps(values))
    order = np.argsort(-np.array(json.loads(kept.read_text())), kind="stable")
    return [samples[i] for i in order]


if __name__ == "__main__":
    main()
