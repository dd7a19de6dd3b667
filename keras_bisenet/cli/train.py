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
def command(run_dir, config_file, resume, **options):
    """Train a model on images with pixel labels.

    Options win over --config, which wins over the defaults; --config also takes what has no
    option here. The run directory keeps them all in config.yaml.
    """
    options = {name: value for name, value in options.items() if value is not None}
    with training_half():
        from keras_bisenet.training.config import TrainingConfig, make_config, read_config
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
            run = Run.create(run_dir, config, dataset.label_map)

        load_tensorflow()
        from keras_bisenet.training.trainer import train

    try:
        rows = train(config, run)
    except KeyboardInterrupt:
        raise UserError(
            f"interrupted: what is finished is kept; keras-bisenet train --run {run_dir} "
            "--resume goes on"
        ) from None
    best = max(rows, key=lambda row: row["val_miou"])
    click.echo(
        f"best val mIoU {best['val_miou']:.4f} (epoch {best['epoch']:.0f}): {run.model_file}"
    )


def check_before_work(config):
    """Finds what can be found out without TensorFlow, before a run directory is made.

    Returns:
        The data set.
    """
    from keras_bisenet.data import load_dataset
    from keras_bisenet.models import MODELS

    if config.model not in MODELS:
        raise UsageError(f"--model {config.model!r}: choose one of {', '.join(MODELS)}")
    return load_dataset(config.dataset, config.data_dir)
