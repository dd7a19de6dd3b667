"""`keras-bisenet dataset`: generate a data set, or check one."""

from __future__ import annotations

import click

from keras_bisenet.cli.options import SIZE
from keras_bisenet.errors import UserError
from keras_bisenet.files import write_json
from keras_bisenet.progress import progress_bar


@click.group("dataset")
def command():
    """Generate a data set, or check one."""


@command.command("generate")
@click.option("--out", "directory", required=True, type=click.Path(), help="Folder to write.")
@click.option("--size", type=SIZE, default="192x256", show_default=True, help="Height x width.")
@click.option("--train", type=click.IntRange(1), default=200, show_default=True)
@click.option("--val", type=click.IntRange(1), default=40, show_default=True)
@click.option("--test", type=click.IntRange(1), default=40, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def generate(directory, size, seed, **counts):
    """Draw street scenes with exact labels, in CamVid's folders and classes."""
    from keras_bisenet.data.streets import generate_streets

    with progress_bar("drawing streets", sum(counts.values())) as bar:
        generate_streets(
            directory, counts=counts, size=size, seed=seed, progress=lambda done, total: bar(1)
        )
    click.echo(f"{sum(counts.values())} streets: {directory} (--dataset streets)")


@command.command("check")
@click.option("--dataset", "name", required=True, help="Name of the data set.")
@click.option("--data-dir", required=True, type=click.Path(), help="Folder of the data set.")
@click.option("--json", "json_file", type=click.Path(), help="Write the findings for programs.")
def check(name, data_dir, json_file):
    """Read every image and mask, and say what is wrong, file by file."""
    from keras_bisenet.data import load_dataset
    from keras_bisenet.data.check import check_samples

    dataset = load_dataset(name, data_dir)
    report = {}
    for split, samples in dataset.splits.items():
        with progress_bar(f"reading {split}", len(samples)) as bar:
            report[split] = check_samples(dataset, samples, bar)
    labels = dataset.label_map
    click.echo(f"{'share of pixels':<20}" + "".join(f"{split:>9}" for split in report))
    for i, class_name in enumerate((*labels.names, "void")):
        shares = "".join(f"{found.shares[i]:>9.2%}" for found in report.values())
        click.echo(f"{class_name:<20}{shares}")
    for split, found in report.items():
        sizes = ", ".join(f"{h}x{w} ({n})" for (h, w), n in sorted(found.sizes.items()))
        click.echo(f"{split}: {found.pairs} good pairs, {sizes or 'no size'}")
    if json_file:
        write_json(json_file, {split: found.to_json(labels) for split, found in report.items()})
    errors = [error for found in report.values() for error in found.errors]
    for error in errors:
        click.echo(f"error: {error}")
    if errors:
        raise UserError(f"{data_dir}: {len(errors)} bad pairs, listed above")
