"""`keras-bisenet dataset`: generate, import, divide, check, pack a data set, or look at it."""

from __future__ import annotations

import itertools
from pathlib import Path

import click

from keras_bisenet.cli.options import SIZE, load_tensorflow, training_half
from keras_bisenet.cli.tables import printable
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.files import (
    check_output,
    check_output_folder,
    replacing,
    write_json,
    write_text,
)
from keras_bisenet.progress import progress_bar

TOOLS = ("coco", "labelme", "cvat", "voc", "supervisely", "labelstudio")
FILES_SHOWN = 5
"""So many files of a issue are listed."""


@click.group("dataset")
def command():
    """Generate, import, divide, check or pack a data set, or see it as training does."""


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
@click.option("--json", "json_file", type=click.Path(), help="Write the report for programs.")
@click.option(
    "--page", "page_file", type=click.Path(), help="Write it as an HTML page of pictures."
)
@click.option("--suggest", "classes_file", type=click.Path(), help="Write a classes.yaml.")
@click.option("--workers", type=click.IntRange(1), help="Threads that read.  [default: CPUs]")
def check(name, data_dir, json_file, page_file, classes_file, workers):
    """Read every image and mask, and say what is wrong, file by file.

    Exits with 1 where there is an error: a file that training or evaluation cannot use, or images
    that several splits share. Warnings name what is worth a look.
    """
    from keras_bisenet.data import load_dataset
    from keras_bisenet.data.check import check_dataset

    if json_file:
        check_output(json_file, "--json")
    if classes_file:
        check_output(classes_file, "--suggest", (".yaml", ".yml"))
    if page_file:
        check_output(_page_path(Path(page_file)), "--page")
    problems = []
    dataset = load_dataset(name, data_dir, problems.append)
    with progress_bar("reading", sum(map(len, dataset.splits.values()))) as bar:
        report = check_dataset(dataset, problems, workers, bar)
    if json_file:
        write_json(json_file, report.to_json())
    if page_file:
        _write_page(Path(page_file), report)
    if classes_file:
        write_text(classes_file, report.suggestions.classes)
    click.echo("\n".join(printable(line) for line in _report_lines(report)))
    errors = [issue for issue in report.issues if issue.severity == "error"]
    if errors:
        files = sum(len(issue.files) for issue in errors)
        raise UserError(f"{data_dir}: errors in {files} files, listed above")


@command.command("show")
@click.option("--dataset", "name", required=True, help="Name of the data set.")
@click.option("--data-dir", required=True, type=click.Path(), help="Folder of the data set.")
@click.option("-o", "--out", required=True, type=click.Path(), help="PNG file, or folder.")
@click.option("--split", default="train", show_default=True)
@click.option("--count", type=click.IntRange(1), default=6, show_default=True)
@click.option("--size", type=SIZE, help="Height x width of the crops.  [384x480]")
@click.option("--seed", type=int, help="Another seed, other views.  [0]")
@click.option("--config", "config_file", type=click.Path(), help="YAML file of training options.")
def show(name, data_dir, out, split, count, config_file, **options):
    """Draw what training sees: views of a split, augmented, with their masks.

    OUT.png is a sheet of them all; a folder gets a picture of each. --config takes the options
    that `train` does, of which size, seed, scale, flip, jitter, tint, stretch and cutmix count
    here.
    """
    out = Path(out)
    if out.suffix.lower() != ".png" and (out.suffix or out.is_file()):
        raise UsageError(f"{out}: choose a name that ends in .png, or a folder")
    with training_half():
        from keras_bisenet.data import load_dataset
        from keras_bisenet.training.config import TrainingConfig, make_config, read_config

        values = read_config(config_file) if config_file else {}
        values.update({key: value for key, value in options.items() if value is not None})
        values.update(dataset=name, data_dir=data_dir)
        config = make_config(TrainingConfig, values, config_file or "show")
        dataset = load_dataset(name, data_dir)
        samples = dataset.split(split)
        load_tensorflow()
        views = _augmented(dataset, samples, config, count)
    written = _write_views(out, dataset.label_map, views)
    click.echo(f"{count} views of {split}, {'{}x{}'.format(*config.size)}: {written}")


@command.command("pack")
@click.option("--dataset", "name", required=True, help="Name of the data set.")
@click.option("--data-dir", required=True, type=click.Path(), help="Folder of the data set.")
@click.option("-o", "--out", required=True, type=click.Path(), help="Folder to write.")
@click.option(
    "--shard-size",
    type=click.FloatRange(0, min_open=True),
    default=256,
    show_default=True,
    help="MiB of a file, about.",
)
def pack(name, data_dir, out, shard_size):
    """Pack a data set of many files into a few large ones (TFRecord).

    Train on OUT with --dataset shards --data-dir OUT. Images stay as they are encoded.
    """
    with training_half():
        from keras_bisenet.data import load_dataset
        from keras_bisenet.data.shards import pack

        check_output_folder(out, "-o", anew=True)
        dataset = load_dataset(name, data_dir)
        load_tensorflow()
    count = sum(map(len, dataset.splits.values()))
    with progress_bar("packing", count) as bar:
        files = pack(dataset, out, round(shard_size * 2**20), bar)
    click.echo(f"{count} images in {files} files: {out} (--dataset shards)")


@command.command("import")
@click.option("--from", "tool", required=True, type=click.Choice(TOOLS), help="What wrote it.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option("--link", is_flag=True, help="Link to the images rather than copy them.")
@click.option("--skip-missing", is_flag=True, help="Leave out images that are not here.")
@click.option(
    "--unlabelled",
    type=click.Choice(["background", "void"]),
    default="background",
    show_default=True,
    help="What pixels below no shape are.",
)
@click.option(
    "--classes",
    "like",
    type=click.Path(path_type=Path),
    help="Classes file, or folder of a data set, whose ids the masks are to have.",
)
def import_(tool, source, out, link, skip_missing, unlabelled, like):
    """Draw the annotations of a tool as masks: a data set of the kind `folder`.

    SOURCE is a folder (or the file of annotations) as the tool exports it. The tool's own splits
    are kept. docs/datasets.md says how each is laid out, and what lies on top where shapes overlap.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    check_output_folder(out, "-o", anew=True)
    with training_half():
        from keras_bisenet.data.importers import read_annotations
        from keras_bisenet.data.importers.annotations import BACKGROUND_LABELS
        from keras_bisenet.data.importers.writing import write_folder

        classes = _classes_like(like) if like else None
        annotations = read_annotations(tool, source)
        with progress_bar("drawing", len(annotations.images)) as bar:
            done = write_folder(
                annotations,
                out,
                link=link,
                skip_missing=skip_missing,
                unlabelled_is_void=unlabelled == "void",
                classes=classes,
                classes_in=like,
                progress=bar,
            )
    labels = done.label_map
    if like and not {name.lower() for name in labels.names} & {*BACKGROUND_LABELS}:
        unlabelled = "void"
    divided = ", ".join(f"{split} {count}" for split, count in sorted(done.splits.items()))
    count = len(annotations.images) - done.missing
    listed = ", ".join(f"{i} {name}" for i, name in zip(labels.file_ids, labels.names))
    click.echo(printable(f"classes: {listed}"))
    click.echo(f"where shapes overlap, {annotations.order}; pixels below none are {unlabelled}")
    skipped = [f"{number} {what}" for what, number in sorted(annotations.skipped.items())]
    skipped += [f"{done.missing} images that are not here"] if done.missing else []
    if skipped:
        click.echo(printable(f"left out: {', '.join(skipped)}"))
    shown = f" ({divided})" if divided else ""
    click.echo(printable(f"{count} images{shown}: {out} (--dataset folder)"))


def _classes_like(path: Path):
    """The label map of a classes file, or of a folder that has one."""
    from keras_bisenet.data.classes_file import find_classes, read_classes_file
    from keras_bisenet.label_map import LabelMap, pascal_palette

    declared = find_classes(path) if path.is_dir() else read_classes_file(path)
    if declared is None:
        raise UserError(f"{path}: no classes file here: name one, such as {path / 'classes.csv'}")
    spare = pascal_palette(len(declared.classes))
    return LabelMap(
        [each.name for each in declared.classes],
        [each.colour or colour for each, colour in zip(declared.classes, spare)],
        [each.id for each in declared.classes],
        declared.ignored_ids,
    )


@command.command("label")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["png", "labelme", "coco"]),
    default="png",
    show_default=True,
    help="Palette masks, or polygons for a tool.",
)
@click.option("--count", type=click.IntRange(1), help="Draft so many, the least certain.  [all]")
@click.option("--labelled", type=click.Path(path_type=Path), help="Masks of images to leave out.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=1.5,
    show_default=True,
    help="Pixels that polygons may be off by.",
)
@click.option(
    "--min-area",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Pixels of the smallest region that gets a polygon.",
)
@click.option(
    "--unsure-below",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Pixels of a lower probability become void.",
)
@click.option("--size", type=SIZE, help="Height x width that images are fitted into.  [the run's]")
@click.option("--threads", type=click.IntRange(1), help="CPU threads for a .tflite file.")
def label(model, images, out, form, count, labelled, tolerance, min_area, unsure_below, **options):
    """Draft labels for IMAGES, a folder, with MODEL, a run or a .tflite file with logits.

    A person mends the drafts instead of drawing from nothing. drafts.csv ranks the images, the
    least certain first: those teach the model most. Mended masks go with their images into a data
    set of the kind folder; polygons come back by dataset import.
    """
    from keras_bisenet.data.layouts import MASK_SUFFIXES, visible_files
    from keras_bisenet.data.name_matching import without_masks
    from keras_bisenet.imaging.reading import IMAGE_SUFFIXES

    if not images.is_dir():
        raise UserError(f"{images}: no such folder: name the folder of the images to label")
    check_output_folder(out, "-o", anew=True)
    paths = visible_files(images, IMAGE_SUFFIXES)
    if labelled:
        paths = without_masks(paths, visible_files(labelled, MASK_SUFFIXES))
    if not paths:
        raise UserError(f"{images}: no image here{' without a mask' if labelled else ''}")
    stems = [path.stem for path in paths]
    twice = next((path for path in paths if stems.count(path.stem) > 1), None)
    if twice:
        raise UserError(f"{twice}: another image has this name, and each gets a draft: rename one")
    with training_half():
        load_tensorflow()
        from keras_bisenet.data import drafts
        from keras_bisenet.segmenters import open_probabilities

        labels, probabilities = open_probabilities(model, **options)
        with progress_bar("drafting", len(paths)) as bar, replacing(out) as folder:
            folder.mkdir()
            style = drafts.Style(form, tolerance, min_area, unsure_below)
            ranked = drafts.write_drafts(
                folder, out, paths, probabilities, labels, style, count, bar
            )
            if out.exists():
                out.rmdir()
    for draft in ranked[:3]:
        click.echo(printable(f"uncertainty {draft.uncertainty:.3f}  {draft.image}"))
    click.echo(printable(f"{len(ranked)} of {len(paths)} images drafted: {out} (drafts.csv)"))


@command.command("split")
@click.option("--data-dir", required=True, type=click.Path(path_type=Path), help="Its folder.")
@click.option(
    "--split-by",
    required=True,
    metavar="WHAT",
    help="sequence (names before their last number), folder, or a regular expression.",
)
def split(data_dir, split_by):
    """Divide one's own images into train and val by groups, none of which is torn.

    Frames of one video, or views of one place, are alike: on both sides of a split they make
    scores of what was learnt by heart. Writes train.txt and val.txt, which --dataset folder reads.
    A regular expression is searched for in the images' paths; its first group, or all of it,
    names the group that an image belongs to.
    """
    from keras_bisenet.data.folder import write_split_lists

    with training_half():
        splits = write_split_lists(data_dir, split_by)
    for name, (path, groups, images) in splits.items():
        click.echo(printable(f"{name}: {images} images of {groups} groups: {path}"))


# === check ===


def _report_lines(report) -> list[str]:
    """The report for people."""
    lines = [*_share_lines(report), "", *_split_lines(report), *_id_lines(report), ""]
    for issue in report.issues:
        lines += [*_issue_lines(issue), ""]
    lines += _suggestion_lines(report.suggestions)
    errors = sum(issue.severity == "error" for issue in report.issues)
    if not report.issues:
        lines.append("no errors, no warnings")
    elif not errors:
        lines.append(f"no errors; warnings: {len(report.issues)}")
    return lines


def _share_lines(report) -> list[str]:
    names = report.dataset.label_map.names
    shares = [split.shares(len(names)) for split in report.splits.values()]
    width = max(20, *(len(name) + 2 for name in names))
    lines = [f"{'share of pixels':<{width}}" + "".join(f"{name:>9}" for name in report.splits)]
    for i, class_name in enumerate((*names, "void")):
        cells = (f"{share[i]:.2%}" if share[i] or i == len(names) else "never" for share in shares)
        lines.append(f"{class_name:<{width}}" + "".join(f"{cell:>9}" for cell in cells))
    return lines


def _split_lines(report) -> list[str]:
    lines = []
    for name, split in report.splits.items():
        common = split.sizes.most_common(3)
        sizes = ", ".join(f"{h}x{w} ({n})" for (h, w), n in common)
        if len(split.sizes) > len(common):
            sizes += f" and {len(split.sizes) - len(common)} other sizes, {_range(split.sizes)}"
        bad = len(split.samples) - split.good
        pairs = f"{split.good} good pairs" + (f", {bad} bad" if bad else "")
        lines.append(f"{name}: {pairs}, {sizes or 'no size'}")
    return lines


def _range(sizes) -> str:
    smallest, largest = (by(sizes, key=lambda size: size[0] * size[1]) for by in (min, max))
    return "{}x{} to {}x{}".format(*smallest, *largest)


def _id_lines(report) -> list[str]:
    if report.dataset.colours:
        return []
    labels = report.dataset.label_map
    found = sum(split.file_ids for split in report.splits.values()).nonzero()[0].tolist()
    void = f", {_ranges(labels.ignored_ids)} void" if labels.ignored_ids else ""
    return [f"ids: {_ranges(found)} found; {_ranges(labels.file_ids)} declared{void}"]


def _ranges(ids) -> str:
    """`0-10, 255`"""
    runs: list[list[int]] = []
    for number in sorted(ids):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs) or "none"


def _issue_lines(issue) -> list[str]:
    lines = [f"{issue.severity}: {issue.rule}: {issue.message}"]
    details = issue.details or ("",) * len(issue.files)
    for path, detail in zip(issue.files[:FILES_SHOWN], details):
        lines.append(f"    {path}: {detail}" if detail else f"    {path}")
    if len(issue.files) > FILES_SHOWN:
        lines.append(f"    and {len(issue.files) - FILES_SHOWN} more (--json names them)")
    return [*lines, f"  cure: {issue.cure}"]


def _suggestion_lines(suggestions) -> list[str]:
    lines = []
    if suggestions.size:
        lines.append(f"suggested: --size {'{}x{}'.format(*suggestions.size)}")
    if suggestions.class_weights:
        lines.append(f"suggested: --class-weights {suggestions.class_weights_option}")
    if suggestions.classes_differ:
        lines += ["suggested classes.yaml (--suggest FILE writes it):"]
        lines += [f"    {line}" for line in suggestions.classes.splitlines()]
    return [*lines, ""]


def _page_path(path: Path) -> Path:
    return path if path.suffix.lower() in (".html", ".htm") else path / "index.html"


def _write_page(path: Path, report) -> None:
    """Writes the page to `path`, or into it where it is a folder."""
    from keras_bisenet.reports.data_page import num_pictures, page

    path = _page_path(path)
    with progress_bar("drawing", num_pictures(report)) as bar:
        write_text(path, page(report, bar))


# === show ===


def _augmented(dataset, samples, config, count: int) -> list[tuple]:
    """(image, class ids) of the first views that training with `config` would see."""
    import numpy as np
    import tensorflow as tf

    from keras_bisenet.data.augmentation import Augmentation
    from keras_bisenet.data.pipeline import TrainingPipeline

    augmentation = Augmentation.of(config)
    pipeline = TrainingPipeline(dataset, samples, config.size, 1, config.seed, augmentation)
    try:
        batches = itertools.islice(pipeline.batches().as_numpy_iterator(), count)
        return [
            (np.round(255 * images[0]).astype(np.uint8), masks[0].astype(np.uint8))
            for images, masks in batches
        ]
    except tf.errors.OpError:
        if pipeline.error:
            raise pipeline.error from None
        raise


def _write_views(out: Path, labels, views) -> Path:
    """Writes a sheet of all views, or a picture of each into the folder `out`."""
    from PIL import Image

    from keras_bisenet.imaging.drawing import colorize, contact_sheet, overlay, overlay_with_legend

    if out.suffix.lower() == ".png":
        palette = labels.palette
        rows = [(image, overlay(image, i, palette), colorize(i, palette)) for image, i in views]
        sheet = contact_sheet(
            rows,
            ("image", "mask over it", "mask"),
            (*labels.names, "void"),
            (*palette, (0, 0, 0)),
            cell_width=400,
        )
        with replacing(out) as file:
            Image.fromarray(sheet).save(file)
        return out
    for number, (image, ids) in enumerate(views):
        picture = overlay_with_legend(image, ids, labels.names, labels.palette)
        with replacing(out / f"view_{number:03d}.png") as file:
            Image.fromarray(picture).save(file)
    return out
