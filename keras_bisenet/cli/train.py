"""`keras-bisenet train`."""

from __future__ import annotations

import click

from keras_bisenet.cli.options import SIZE, load_tensorflow, training_half
from keras_bisenet.errors import UsageError, UserError

OPTIMIZERS = ("sgd", "adamw")
LOSSES = ("cross_entropy", "ohem")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@click.command("train")
@click.option("--run", "run_dir", required=True, type=click.Path(), help="Run directory to make.")
@click.option("--config", "config_file", type=click.Path(), help="YAML file of options.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option("--dataset", help="Name of the data set.")
@click.option("--data-dir", type=click.Path(), help="Folder of the data set.")
@click.option("--size", type=SIZE, help="Height x width of crops.  [384x480]")
@click.option("--model", help="bisenetv2, bisenetv2-large or bisenetv2-small.")
@click.option("--weights", help="To start from: a run, a .keras file, or camvid.  [none]")
@click.option("--epochs", type=int, help="Passes over the training split.  [200]")
@click.option("--batch-size", type=int, help="Images in a batch.  [8]")
@click.option("--accumulate", type=int, help="Batches to each update.  [1]")
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="[sgd]")
@click.option("--learning-rate", type=float, help="Peak.  [sgd: 0.05 per 16 images; adamw: 0.002]")
@click.option("--weight-decay", type=float, help="On convolution kernels.  [0.0005]")
@click.option("--warmup-epochs", type=float, help="[1]")
@click.option("--loss", type=click.Choice(LOSSES), help="[cross_entropy]")
@click.option("--class-weights", help="none, sqrt, enet, median, or a number per class.  [none]")
@click.option("--dice", type=float, help="Factor of the Dice loss, added.  [0]")
@click.option("--lovasz", type=float, help="Factor of the Lovász softmax, added.  [0]")
@click.option("--ema", type=float, help="Momentum of an average of the weights, such as 0.998.")
@click.option("--precision", type=click.Choice(PRECISIONS), help="[float32]")
@click.option("--boosters/--no-boosters", default=None, help="Four extra heads while training.")
@click.option("--validate-every", type=int, help="Epochs between validations.  [1]")
@click.option("--early-stop", type=int, help="Stop after so many epochs without a better mIoU.")
@click.option("--seed", type=int, help="[0]")
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
        from keras_bisenet.training.config import TrainingConfig, make_config, read_config
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
    return load_dataset(config.dataset, config.data_dir)
