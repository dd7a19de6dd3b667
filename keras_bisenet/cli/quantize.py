"""`keras-bisenet quantize`."""

from __future__ import annotations

import click

from keras_bisenet.cli.options import ANY_CLASSES, TARGET, load_tensorflow, training_half
from keras_bisenet.errors import UsageError, UserError

QAT_ALONE = ("epochs", "batch_size", "learning_rate")
"""Options that do nothing in `ptq`."""


@click.command("quantize")
@click.argument("source", metavar="RUN", type=click.Path())
@click.option("--run", "run_dir", required=True, type=click.Path(), help="Run directory to make.")
@click.option("--mode", type=click.Choice(["qat", "ptq"]), help="[qat]")
@click.option("--target", type=TARGET, help="What will run it.  [cpu]")
@click.option("--epochs", type=int, help="QAT: passes over the training split.  [2]")
@click.option("--batch-size", type=int, help="QAT: images in a batch.  [8]")
@click.option("--learning-rate", type=float, help="QAT: where Adam starts.  [0.0001]")
@click.option("--freeze-batch-norm/--train-batch-norm", default=None, help="QAT.  [freeze]")
@click.option("--calibration-images", type=int, help="Images that set the ranges.  [100]")
@click.option("--data-dir", type=click.Path(), help="The data set's folder, if it has moved.")
@click.option("--seed", type=int, help="QAT.  [0]")
@click.option("--resume", is_flag=True, help="Go on with an interrupted --mode qat.")
@click.option("--any-classes", is_flag=True, help=ANY_CLASSES)
def command(source, run_dir, data_dir, resume, any_classes, **options):
    """Quantize a trained RUN.

    `qat` fine-tunes with rounded weights and activations, and loses least. `ptq` needs no
    training: the ranges come from training images.
    """
    import dataclasses

    options = {name: value for name, value in options.items() if value is not None}
    with training_half():
        from keras_bisenet.training.config import QuantizationConfig, make_config
        from keras_bisenet.training.run import Run

        source = Run.open(source, any_classes)
        if source.quantization:
            raise UsageError(f"{source.path}: quantized already: name the float run")
        source.require_model()
        if resume:
            run = Run.open(run_dir, any_classes)
            config = run.quantization
            if config is None:
                raise UsageError(f"{run_dir}: a float run: resume it with keras-bisenet train")
            changed = [n for n, value in options.items() if getattr(config, n) != value]
            if changed:
                raise UsageError(
                    f"{run_dir}: --resume goes on with the run's own {', '.join(changed)}: "
                    "leave the option out, or start a new run"
                )
            run.check_source(source)
            training = run.config
            if data_dir:
                training = dataclasses.replace(training, data_dir=str(data_dir))
            run.load_dataset(training)
            if data_dir:
                run.move_data(data_dir)
        else:
            config = make_config(QuantizationConfig, options, "quantize")
            unused = [n for n in QAT_ALONE if n in options and config.mode == "ptq"]
            if unused:
                name = unused[0].replace("_", "-")
                raise UsageError(f"--{name} is for --mode qat: ptq trains nothing")
            training = source.config
            if data_dir:
                training = dataclasses.replace(training, data_dir=str(data_dir))
            Run(run_dir).check_place()
            dataset = source.load_dataset(training)
            for split in ("train", "val") if config.mode == "qat" else ("train",):
                dataset.require_labels(split)
            if config.mode == "qat":  # validated after the training
                dataset.require_readable("val")
            run = Run.create(run_dir, training, source.label_map, config)
            run.any_classes = any_classes

        load_tensorflow()
        from keras_bisenet.quantization.quantizer import quantize

    try:
        quantize(source, run, config)
    except KeyboardInterrupt:
        raise UserError(
            f"interrupted: what is finished is kept; keras-bisenet quantize {source.path} "
            f"--run {run_dir} --resume goes on"
        ) from None
