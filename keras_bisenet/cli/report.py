"""`keras-bisenet report`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from keras_bisenet.cli.options import ANY_CLASSES, load_tensorflow, training_half
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.files import check_output, write_text
from keras_bisenet.progress import progress_bar


@click.command("report")
@click.argument("run_dir", metavar="RUN", type=click.Path())
@click.option("-o", "--out", type=click.Path(path_type=Path), help="[RUN/report.html]")
@click.option("--data-dir", type=click.Path(), help="Folder of the data set.  [the run's]")
@click.option("--split", default="val", show_default=True)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="How many of the best, and of the worst images to show.",
)
@click.option("--any-classes", is_flag=True, help=ANY_CLASSES)
def command(run_dir, out, data_dir, split, images, any_classes):
    """Write what is to know about RUN, a run directory, into one HTML page.

    Curves over the epochs, scores over a split with IoU per class and the confusion matrix, the
    images that the model is best and worst at, and the configuration. The page has all inside it
    and needs no network.
    """
    out = out or Path(run_dir) / "report.html"
    if out.is_dir():
        raise UsageError(f"-o {out}: this is a folder: name a file, such as {out / 'report.html'}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"-o {out}: a report is an HTML page: choose a name that ends in .html")
    check_output(out, "-o")
    with training_half():
        from keras_bisenet.reports.run_page import page
        from keras_bisenet.training.examination import examine, ranked_classes
        from keras_bisenet.training.run import Run

        run = Run.open(run_dir, any_classes)
        _check_finished(run)
        config = run.config
        config = dataclasses.replace(config, data_dir=str(data_dir or config.data_dir))
        dataset = run.load_dataset(config)
        dataset.require_labels(split)
        num_images = len(dataset.split(split))

        load_tensorflow()
        from keras_bisenet.segmenters import open_segmenter

        segment = open_segmenter(run_dir, dataset.label_map)
        with progress_bar(f"scoring {split}", num_images) as bar:
            found = examine(segment, dataset, split, images, bar)
    write_text(out, page(run, found))

    scores = found.scores
    click.echo(f"{'mIoU':<15} {scores.miou:6.4f}  ({split}, {num_images} images)")
    click.echo(f"{'pixel accuracy':<15} {scores.pixel_accuracy:6.4f}")
    for i in ranked_classes(scores)[-1:]:
        click.echo(f"{'worst class':<15} {scores.iou[i]:6.4f}  {scores.names[i]}")
    for worst in found.worst[:1]:
        click.echo(f"{'worst image':<15} {worst.scores.miou:6.4f}  {worst.name}")
    click.echo(f"{out}: {out.stat().st_size / 2**20:.2f} MiB, open it in a browser")


def _check_finished(run) -> None:
    """Finds out without TensorFlow whether the run has what a report is about."""
    if run.quantization and run.quantization.mode == "ptq":
        raise UsageError(
            f"{run.path}: a run quantized after training has no epochs and no model of its own to "
            f"report on: keras-bisenet convert {run.path} -o model.tflite, and evaluate that file"
        )
    run.require_model()
    if not run.read_metrics():
        command = "quantize RUN" if run.quantization else "train"
        raise UserError(
            f"{run.path}: no finished epoch here yet (metrics.csv): "
            f"keras-bisenet {command} --run {run.path} --resume"
        )
