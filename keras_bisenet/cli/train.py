"""`keras-bisenet train`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from keras_bisenet.class_weights import check_class_weighting
from keras_bisenet.cli.options import (
    ANY_CLASSES,
    configuration_options,
    load_tensorflow,
    training_half,
)
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.progress import progress_bar
from keras_bisenet.training.config import TrainingConfig, make_config, read_config


@click.command("train")
@click.option("--run", "run_dir", required=True, type=click.Path(), help="Run directory to make.")
@click.option("--config", "config_file", type=click.Path(), help="YAML file of options.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option(
    "--suggested",
    is_flag=True,
    help="Read all of the data first, and take what dataset check suggests: crop size, class "
    "weights, and no training image that val or test has too.  Given options win.",
)
@click.option("--any-classes", is_flag=True, help=f"With --resume. {ANY_CLASSES}")
@configuration_options(TrainingConfig)
@click.option(
    "--coordinator",
    envvar="KERAS_DISTRIBUTION_JOB_ADDRESSES",
    help="Several processes: HOST:PORT of process 0, any free port.",
)
@click.option(
    "--num-processes",
    type=click.IntRange(1),
    envvar="KERAS_DISTRIBUTION_NUM_PROCESSES",
    help="Several processes: how many.",
)
@click.option(
    "--process-id",
    type=click.IntRange(0),
    envvar="KERAS_DISTRIBUTION_PROCESS_ID",
    help="Several processes: which this is, from 0.",
)
def command(
    run_dir,
    config_file,
    resume,
    suggested,
    any_classes,
    coordinator,
    num_processes,
    process_id,
    **options,
):
    """Train a model on images with pixel labels.

    Options win over --config, which wins over the defaults; --config also takes what has no
    option here. The run directory keeps them all in config.yaml.

    To train on several hosts, start the command on each with the same options but for
    --process-id. --batch-size stays that of all together; process 0 writes the run directory.
    """
    cluster = make_cluster(coordinator, num_processes, process_id)
    options = {name: value for name, value in options.items() if value is not None}
    if resume and suggested:
        raise UsageError(
            "--suggested is for a new run: --resume goes on with the run's own options"
        )
    if any_classes and not resume:
        raise UsageError("--any-classes goes with --resume")
    with training_half():
        from keras_bisenet.training.distributed import run_in_worker
        from keras_bisenet.training.run import Run, best_row

        if resume:
            run = Run.open(run_dir, any_classes)
            config = run.config
            moved_to = options.get("data_dir")
            if moved_to:
                config = dataclasses.replace(config, data_dir=moved_to)
            asked = {**(read_config(config_file) if config_file else {}), **options}
            if asked.get("precision") == "auto":  # the run has settled what that is
                del asked["precision"]
            asked = make_config(TrainingConfig, {**vars(config), **asked}, "--resume")
            if asked != config:
                changed = [n for n, v in vars(asked).items() if v != getattr(config, n)]
                raise UsageError(
                    f"{run_dir}: --resume goes on with the run's own {', '.join(changed)}: "
                    "leave the option out, or start a new run"
                )
            check_alone(config, cluster)
            check_before_work(config, run)
            if moved_to:
                run.move_data(moved_to)
        else:
            values = read_config(config_file) if config_file else {}
            source = config_file or "train"
            config = make_config(TrainingConfig, {**values, **options}, source)
            check_used(config, options)
            check_alone(config, cluster)
            is_first = cluster is None or cluster.process_id == 0
            run = Run(run_dir)
            if is_first:
                run.check_place()
            dataset, leave_out = check_before_work(config), []
            if suggested:
                given = {**values, **options}
                if config.train_on_val:  # what it shares with train is no leak: test alone judges
                    others = {name: s for name, s in dataset.splits.items() if name != "val"}
                    dataset = dataclasses.replace(dataset, splits=others)
                taken, leave_out = take_suggestions(dataset)
                taken = {name: value for name, value in taken.items() if name not in given}
                config = make_config(TrainingConfig, {**given, **taken}, source)
                for name, value in taken.items():
                    click.echo(f"suggested: --{name.replace('_', '-')} {value}")
            if is_first:
                run = Run.create(run_dir, config, dataset.label_map, leave_out=leave_out)
                if leave_out:
                    click.echo(
                        f"left out of training, since val or test has them: {len(leave_out)}"
                    )

    try:
        rows = run_in_worker(train, (config, run), cluster) if cluster else train(config, run)
    except KeyboardInterrupt:
        raise UserError(
            f"interrupted: what is finished is kept; keras-bisenet train --run {run_dir} "
            "--resume goes on"
        ) from None
    if cluster and cluster.process_id > 0:
        return
    best = best_row(rows)
    click.echo(
        f"best val mIoU {best['val_miou']:.4f} (epoch {best['epoch']:.0f}): {run.model_file}"
    )


def train(config, run):
    """`training.trainer.train`, with its imports."""
    with training_half():
        if not config.resident:
            load_tensorflow()
        from keras_bisenet.training import trainer
    return trainer.train(config, run)


def make_cluster(coordinator, num_processes, process_id):
    """The processes to train with; None for this one alone.

    Raises:
        UsageError: When one of the options is missing, or makes no sense.
    """
    options = {
        "--coordinator": coordinator,
        "--num-processes": num_processes,
        "--process-id": process_id,
    }
    missing = [name for name, value in options.items() if value is None]
    if len(missing) == len(options):
        return None
    if missing:
        raise UsageError(f"several processes need {' and '.join(missing)} too")
    from keras_bisenet.training.distributed import Cluster

    # Keras' environment variable may list the addresses of all.
    return Cluster(coordinator.split(",")[0], num_processes, process_id)


def check_used(config, options):
    """Refuses options of the command line that would do nothing."""
    needed = {"soft_weight": "--teacher, --soft-labels or --extra", "extra_share": "--extra"}
    needed |= {"temperature": needed["soft_weight"], "extra_until": needed["extra_share"]}
    if config.extra:
        needed = {}
        if not round(config.extra_until * config.epochs):
            raise UsageError(
                f"--extra-until {config.extra_until} of {config.epochs} epochs is none of them: "
                "give a larger share, or leave --extra out"
            )
    elif config.teacher or config.soft_labels:
        del needed["soft_weight"], needed["temperature"]
    for name, source in needed.items():
        if name in options:
            raise UsageError(f"--{name.replace('_', '-')} does nothing without {source}")


def check_alone(config, cluster):
    """Refuses several processes where training is for one device."""
    if cluster and config.resident:
        raise UsageError(
            "--resident trains on one device, --coordinator on several: leave one of them out"
        )


def take_suggestions(dataset):
    """What `dataset check` suggests to train with.

    Returns:
        Values of the configuration, and the training images that other splits have too.

    Raises:
        UserError: When the data have other errors than those.
    """
    from keras_bisenet.data.check import check_dataset

    with progress_bar("reading", sum(map(len, dataset.splits.values()))) as bar:
        result = check_dataset(dataset, progress=bar)
    errors = [i for i in result.issues if i.severity == "error" and i.rule != "leaking-split"]
    if errors:
        raise UserError(
            f"{errors[0].message}: keras-bisenet dataset check lists what is wrong, and the cure"
        )
    trained = {id(sample) for sample in dataset.split("train")}
    leaks = (issue for issue in result.issues if issue.rule == "leaking-split")
    leave_out = {s.image for issue in leaks for s in issue.samples if id(s) in trained}
    values = result.suggestions.to_json()
    taken = {name: values[name] for name in ("size", "class_weights") if values[name]}
    return taken, sorted(leave_out)


def check_before_work(config, run=None):
    """Finds what can be found out without TensorFlow, before a run directory is made.

    Args:
        config: The configuration.
        run: The run that goes on; None for a new one.

    Returns:
        The data set.
    """
    from keras_bisenet.training.run import configured_dataset
    from keras_bisenet.training.weights import find_weights

    if config.resident:
        from keras_bisenet.training.devices import check_resident

        check_resident()
    if config.weights and not (run and run.read_metrics()):  # else it has started from them
        find_weights(config.weights)
    if run:
        dataset = run.load_dataset(config)
    else:
        dataset = configured_dataset(config)
    check_class_weighting(config.class_weights, dataset.label_map.num_classes)
    images = len(dataset.split("train"))
    if images < config.batch_size:
        raise UsageError(
            f"{images} training images do not fill a batch of {config.batch_size}: choose a "
            "smaller --batch-size"
        )
    for split in ("train", "val"):
        dataset.require_labels(split)
    # Training images are read when training begins; these would be when it has been going on.
    with progress_bar("reading val", len(dataset.split("val"))) as bar:
        dataset.require_readable("val", bar)
    if config.teacher or config.soft_labels or config.extra:
        if not config.resident:
            load_tensorflow()
        from keras_bisenet.training.distillation import check_sources

        check_sources(config, dataset, run)
    if not run and not config.train_on_val:
        warn_of_learnt_val(config)
    if not run and config.extra:
        warn_of_judging_extra(config, dataset)
    return dataset


def warn_of_learnt_val(config):
    """Warns where what a run starts or learns from knows its validation images already."""
    from keras_bisenet.data.problems import Problem, print_warning
    from keras_bisenet.training.weights import learnt_val

    for option, source in (("--weights", config.weights), ("--teacher", config.teacher)):
        if source and learnt_val(source, config):
            message = f"{option}: it has learnt images of val, so that scores there are too high"
            cure = "compare such runs with each other alone"
            print_warning(Problem("learnt-val", "warning", message, (Path(source),), cure))


def warn_of_judging_extra(config, dataset):
    """Warns where extra images are those that a run is judged by, or have names that it holds
    out."""
    from keras_bisenet.data.problems import Problem, print_warning
    from keras_bisenet.data.soft_labels import unlabelled_images
    from keras_bisenet.data.splits import images_of_splits

    splits = ("test",) if config.train_on_val else ("val", "test")
    extra = unlabelled_images(Path(config.extra))
    images = images_of_splits(extra, dataset, splits, config.hold_out)
    if images:
        held = f"held out by --hold-out {config.hold_out}, or " if config.hold_out else ""
        message = (
            f"--extra: {len(images)} of its {len(extra)} images are {held}in {' or '.join(splits)} "
            "too, so that scores there are too high"
        )
        cure = "take them out of the folder"
        print_warning(Problem("judging-extra", "warning", message, tuple(images), cure))
