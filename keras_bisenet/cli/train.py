"""`keras-bisenet train`."""

from __future__ import annotations

import click

from keras_bisenet.cli.options import configuration_options, load_tensorflow, training_half
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.training.config import TrainingConfig, make_config, read_config


@click.command("train")
@click.option("--run", "run_dir", required=True, type=click.Path(), help="Run directory to make.")
@click.option("--config", "config_file", type=click.Path(), help="YAML file of options.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
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
def command(run_dir, config_file, resume, coordinator, num_processes, process_id, **options):
    """Train a model on images with pixel labels.

    Options win over --config, which wins over the defaults; --config also takes what has no
    option here. The run directory keeps them all in config.yaml.

    To train on several hosts, start the command on each with the same options but for
    --process-id. --batch-size stays that of all together; process 0 writes the run directory.
    """
    cluster = make_cluster(coordinator, num_processes, process_id)
    options = {name: value for name, value in options.items() if value is not None}
    with training_half():
        from keras_bisenet.training.distributed import run_in_worker
        from keras_bisenet.training.run import Run

        if resume:
            run = Run.open(run_dir)
            config = run.config
            asked = {**(read_config(config_file) if config_file else {}), **options}
            asked = make_config(TrainingConfig, {**vars(config), **asked}, "--resume")
            if asked != config:
                changed = [n for n, v in vars(asked).items() if v != getattr(config, n)]
                raise UsageError(
                    f"{run_dir}: --resume goes on with the run's own {', '.join(changed)}: "
                    "leave the option out, or start a new run"
                )
        else:
            values = read_config(config_file) if config_file else {}
            source = config_file or "train"
            config = make_config(TrainingConfig, {**values, **options}, source)
            dataset = check_before_work(config)
            is_first = cluster is None or cluster.process_id == 0
            run = Run.create(run_dir, config, dataset.label_map) if is_first else Run(run_dir)

    try:
        rows = run_in_worker(train, (config, run), cluster) if cluster else train(config, run)
    except KeyboardInterrupt:
        raise UserError(
            f"interrupted: what is finished is kept; keras-bisenet train --run {run_dir} "
            "--resume goes on"
        ) from None
    if cluster and cluster.process_id > 0:
        return
    best = max(rows, key=lambda row: row["val_miou"])
    click.echo(
        f"best val mIoU {best['val_miou']:.4f} (epoch {best['epoch']:.0f}): {run.model_file}"
    )


def train(config, run):
    """`training.trainer.train`, with its imports."""
    with training_half():
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


def check_before_work(config):
    """Finds what can be found out without TensorFlow, before a run directory is made.

    Returns:
        The data set.
    """
    from keras_bisenet.data import load_dataset
    from keras_bisenet.training.weights import find_weights

    if config.weights:
        find_weights(config.weights)
    dataset = load_dataset(config.dataset, config.data_dir, hold_out=config.hold_out)
    if config.teacher or config.soft_labels or config.extra:
        load_tensorflow()
        from keras_bisenet.training.distillation import check_sources

        check_sources(config, dataset)
    return dataset
