"""`keras-bisenet import`."""

from __future__ import annotations

import click

from keras_bisenet.cli.options import SIZE, load_tensorflow, training_half
from keras_bisenet.errors import UsageError, UserError

LAYOUTS = ("coincheung", "mmseg", "paddleseg")


class Colour(click.ParamType):
    """`R,G,B`, each in [0, 1]: `0.5,0.5,0.5`."""

    name = "R,G,B"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        try:
            colour = tuple(float(part) for part in value.split(","))
        except ValueError:
            colour = ()
        if len(colour) != 3 or not all(0 <= part <= 1 for part in colour):
            self.fail(f"{value!r} is not red, green and blue in [0, 1]: 0.5,0.5,0.5", param, ctx)
        return colour


class Deviation(Colour):
    """As `Colour`, and no channel 0: images are divided by it."""

    def convert(self, value, param, ctx):
        deviation = super().convert(value, param, ctx)
        if min(deviation) <= 0:
            self.fail(f"{value!r}: images are divided by it: give numbers above 0", param, ctx)
        return deviation


COLOUR, DEVIATION = Colour(), Deviation()


@click.command("import")
@click.argument("weights", type=click.Path())
@click.option("--layout", type=click.Choice(LAYOUTS), required=True, help="Whose network it is.")
@click.option("--run", "run_dir", required=True, type=click.Path(), help="Run directory to make.")
@click.option("--dataset", required=True, help="Data set whose classes the weights tell apart.")
@click.option("--data-dir", type=click.Path(), help="Its folder; quantize and evaluate need it.")
@click.option("--size", type=SIZE, default="512x1024", show_default=True, help="Height x width.")
@click.option("--mean", type=COLOUR, help="Of the images in training, in [0, 1].  [the layout's]")
@click.option("--std", "deviation", type=DEVIATION, help="Likewise their deviation.")
def command(weights, layout, run_dir, dataset, data_dir, size, mean, deviation):
    """Make a run of BiSeNet V2 weights that were trained in PyTorch or PaddlePaddle.

    WEIGHTS is what torch.save or paddle.save wrote of a model's state dict, or a checkpoint that
    holds one. It is read without either, and nothing in it is run. The run is as one that was
    trained here: evaluate, quantize and convert take it.
    """
    with training_half():
        from keras_bisenet.data import load_dataset
        from keras_bisenet.models.pytorch import colours_of, model_from
        from keras_bisenet.models.torch_file import read_tensors
        from keras_bisenet.training.config import TrainingConfig, make_config
        from keras_bisenet.training.run import Run

        if (mean is None) != (deviation is None):
            raise UsageError("give both --mean and --std, or neither")
        Run(run_dir).check_place(can_resume=False)
        if mean is None:
            mean, deviation = colours_of(layout, dataset)
        labels = load_dataset(dataset, data_dir).label_map if data_dir else _label_map(dataset)
        values = {"dataset": dataset, "data_dir": str(data_dir or ""), "size": size}
        make_config(TrainingConfig, values, "import")
        tensors = read_tensors(weights)
        load_tensorflow()
        from keras_bisenet.training.saving import save_model

        try:
            model, options, left_out = model_from(tensors, layout, mean, deviation)
        except UserError as error:
            raise UserError(f"{weights}: {error}") from error
        found = model.output_shape[-1]
        if found != labels.num_classes:
            raise UserError(
                f"{weights}: the weights tell {found} classes apart, {dataset} has "
                f"{labels.num_classes}: choose the data set that they were trained on"
            )
        config = make_config(TrainingConfig, {**values, "model_options": options}, "import")
        run = Run.create(run_dir, config, labels)
        save_model(model, run.model_file)
    if left_out:
        parts = sorted({name.split(".")[0] for name in left_out})
        click.echo(f"left out, as for training alone: {', '.join(parts)} ({len(left_out)} tensors)")
    click.echo(f"{len(tensors) - len(left_out)} tensors, {found} classes: {run.model_file}")


def _label_map(dataset: str):
    """The classes of a data set that always has the same, without its files."""
    from keras_bisenet.data import ade20k, camvid, cityscapes, cocostuff, voc2012

    known = {
        "camvid": camvid.CAMVID,
        "streets": camvid.CAMVID,
        "cityscapes": cityscapes.TRAIN_IDS_MAP,
        "cocostuff": cocostuff.TRAIN_IDS_MAP,
        "ade20k": ade20k.ADE20K,
        "voc2012": voc2012.VOC2012,
    }
    if dataset not in known:
        raise UsageError(
            f"--dataset {dataset}: its classes are in its files: give --data-dir too (without it "
            f"import knows {', '.join(known)})"
        )
    return known[dataset]
