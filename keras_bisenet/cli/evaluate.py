"""`keras-bisenet evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from keras_bisenet.cli.options import ANY_CLASSES, MODEL, SIZE, load_tensorflow, training_half
from keras_bisenet.errors import UsageError
from keras_bisenet.files import check_output, replacing, write_json
from keras_bisenet.progress import progress_bar

MOST_SCALE = 8
"""By how much images are enlarged at most; no model gains from more, and memory ends."""


@click.command("evaluate")
@click.argument("model", type=MODEL)
@click.option("--dataset", "dataset_name", help="Name of the data set.  [the run's]")
@click.option("--data-dir", type=click.Path(), help="Folder of the data set.  [the run's]")
@click.option("--split", default="val", show_default=True)
@click.option("--hold-out", help="Let val be the images with this in their name.  [the run's]")
@click.option("--size", type=SIZE, help="Height x width that images are fitted into.  [the run's]")
@click.option("--flip", is_flag=True, help="Average with the answer for the mirrored image.")
@click.option("--scales", default="1", show_default=True, help="Average over sizes: 0.75,1,1.25.")
@click.option("--windows", is_flag=True, help="Larger images in windows of --size, not shrunk.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads for a .tflite file.")
@click.option("--limit", type=click.IntRange(1), help="Score the first so many images alone.")
@click.option("--json", "json_file", type=click.Path(), help="Write the scores for programs.")
@click.option("--confusion", type=click.Path(), help="Draw the confusion matrix into this PNG.")
@click.option("--any-classes", is_flag=True, help=ANY_CLASSES)
def command(
    model,
    dataset_name,
    data_dir,
    split,
    hold_out,
    json_file,
    confusion,
    any_classes,
    limit,
    **options,
):
    """Measure mIoU of MODEL: a run directory, a .keras or a .tflite file.

    Pixels are counted at the labels' own resolution, in one confusion matrix over the split, void
    left out. The data set's classes are matched with the model's by name.
    """
    if json_file:
        check_output(json_file, "--json")
    if confusion:
        check_output(confusion, "--confusion", (".png",))
    options["scales"] = _scales(options["scales"])
    with training_half():
        from keras_bisenet.data import load_dataset
        from keras_bisenet.data.class_agreement import with_classes_of
        from keras_bisenet.data.problems import Problem, print_warning
        from keras_bisenet.segmenters import class_names
        from keras_bisenet.training.run import Run

        if Path(model).is_dir():
            config = Run.open(model).config
            dataset_name, data_dir = dataset_name or config.dataset, data_dir or config.data_dir
            # What the run held out of training and validation says nothing about other splits.
            is_divided = split in ("train", "val")
            if hold_out is None and dataset_name == config.dataset and is_divided:
                hold_out = config.hold_out
        if dataset_name and not data_dir and Path(model).is_dir():
            raise UsageError(
                f"{model}: imported without the folder of its data set: give --data-dir"
            )
        if not dataset_name or not data_dir:
            raise UsageError("give --dataset and --data-dir: only a run directory knows its own")
        dataset = load_dataset(dataset_name, data_dir, hold_out=hold_out, to_train=False)
        names = class_names(model)
        dataset = with_classes_of(dataset, names, model, any_classes)
        dataset.require_labels(split)
        samples = dataset.split(split)[:limit]

        load_tensorflow()
        from keras_bisenet.segmenters import open_segmenter
        from keras_bisenet.training.evaluation import score

        segment = open_segmenter(model, dataset.label_map, **options)
        if names is None:
            message = "it names no classes: they are compared by number"
            print_warning(Problem("class-names", "warning", message, (Path(model),), ""))
        with progress_bar(f"scoring {split}", len(samples)) as bar:
            scores = score(segment, dataset, samples, bar)
    if json_file:
        write_json(
            json_file,
            {
                **scores.to_json(),
                "model": str(model),
                "dataset": dataset_name,
                "split": split,
                "images": len(samples),
            },
        )
    for name, iou in zip(scores.names, scores.iou):
        click.echo(f"{name:<20} {'     -' if iou != iou else f'{iou:6.4f}'}")
    click.echo(f"{'pixel accuracy':<20} {scores.pixel_accuracy:6.4f}")
    click.echo(f"{'mIoU':<20} {scores.miou:6.4f}  ({split}, {len(samples)} images)")
    if confusion:
        from keras_bisenet.imaging.confusion import confusion_matrix_picture

        with replacing(confusion) as temporary:
            confusion_matrix_picture(scores.confusion, scores.names).save(temporary)


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(scale) for scale in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(scale > 0 for scale in scales):  # nan is not
        raise UsageError(f"--scales {text!r}: give positive numbers, such as 0.75,1,1.25")
    if max(scales) > MOST_SCALE:
        raise UsageError(f"--scales {text!r}: give numbers up to {MOST_SCALE}")
    return scales
