"""Training a float model from a configuration, on any backend of Keras 3.

The JAX backend shares each batch between all devices: those of one host, or of several hosts with
a process on each (`keras_bisenet.training.distributed`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import click
import keras

from keras_bisenet.data import load_dataset
from keras_bisenet.data.augmentation import Augmentation
from keras_bisenet.data.class_weights import class_weights
from keras_bisenet.data.pipeline import TrainingPipeline
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.files import replacing
from keras_bisenet.models import build_model
from keras_bisenet.progress import progress_bar
from keras_bisenet.training import distributed
from keras_bisenet.training.config import TrainingConfig
from keras_bisenet.training.evaluation import KerasSegmenter
from keras_bisenet.training.loop import TrainingLoop
from keras_bisenet.training.losses import make_loss
from keras_bisenet.training.optimizers import WarmupPolynomialDecay, make_optimizer
from keras_bisenet.training.run import Run
from keras_bisenet.training.weights import copy_trained, find_weights


def train(config: TrainingConfig, run: Run) -> list[dict[str, float]]:
    """Trains what `config` says into `run`, from its newest checkpoint if it has one.

    Returns:
        The rows of `metrics.csv`.

    Raises:
        UserError: When the data is missing or bad.
    """
    use_all_devices(config.batch_size)
    keras.config.set_dtype_policy(config.precision)
    keras.utils.set_random_seed(config.seed)
    dataset, pipeline = open_pipeline(
        config,
        config.batch_size,
        config.seed,
        Augmentation.of(config),
        distributed.share(),
    )
    distributed.check_same(
        configuration=dataclasses.replace(config, data_dir=""),
        data_set=(dataset.label_map, [sample.image.name for sample in pipeline.samples]),
        run_directory=run.read_metrics(),
    )
    model = build_model(
        config.model,
        dataset.label_map.num_classes,
        **{**config.model_options, "boosters": config.boosters},
    )
    if config.weights and not run.read_metrics():
        start_from(config.weights, model)
    # Where gradients accumulate, Keras asks the schedule by the number of batches, not of updates.
    schedule = WarmupPolynomialDecay(
        config.peak_learning_rate,
        total_steps=config.epochs * pipeline.steps_per_epoch,
        warmup_steps=round(config.warmup_epochs * pipeline.steps_per_epoch),
        power=config.power,
    )
    compile_model(model, config, schedule, configured_loss(config, pipeline))
    # Shares its weights with the model, and leaves the boosters out.
    inference = keras.Model(model.inputs, model.outputs[0], name=config.model.replace("-", "_"))
    evaluating = averaged_weights(model, config)
    if distributed.share()[1] > 1:
        inference, evaluating = distributed.on_this_process_alone(inference, evaluating)
    loop = TrainingLoop(
        run,
        model,
        pipeline,
        dataset,
        segment=KerasSegmenter(inference, config.size).segment,
        save_best=lambda: save_model(inference, run.model_file),
        learning_rate=schedule,
        epochs=config.epochs,
        validate_every=config.validate_every,
        early_stop=config.early_stop,
        evaluating=evaluating,
    )
    return loop()


def open_pipeline(
    config: TrainingConfig,
    batch_size: int,
    seed: int,
    augmentation: Augmentation,
    share: tuple[int, int] = (0, 1),
):
    """The data set, and batches of its training split, read ahead where they fit in memory."""
    dataset = load_dataset(config.dataset, config.data_dir)
    samples = dataset.split("train")
    pipeline = TrainingPipeline(
        dataset, samples, config.size, batch_size, seed, augmentation, share
    )
    with progress_bar("reading images", len(samples)) as bar:
        pipeline.preload(bar)
    return dataset, pipeline


def start_from(source: str, model) -> None:
    """Puts trained weights into a model, all but those of heads for other classes.

    Args:
        source: What `weights.find_weights` takes.
        model: A model that has just been built.

    Raises:
        UserError: When there are no such weights, or they are of another model.
    """
    path = find_weights(source)
    try:
        fresh = copy_trained(load_model(path), model)
    except ValueError as error:
        raise UserError(
            f"{path}: the weights of another model ({error}): choose its --model and options"
        ) from error
    is_new_head = "head_logits" in fresh
    click.echo(f"starting from {path}" + (", with a new head" if is_new_head else ""))


def configured_loss(config: TrainingConfig, pipeline: TrainingPipeline):
    """The loss that `config` describes, with class weights as the split asks for them.

    Raises:
        UsageError: When the class weights do not fit the classes.
    """
    needs_pixels = config.class_weights != "none"
    return make_loss(
        config.loss,
        class_weights=class_weights(config.class_weights, pipeline.count_pixels())
        if needs_pixels
        else None,
        ohem_threshold=config.ohem_threshold,
        ohem_share=config.ohem_share,
        dice=config.dice,
        lovasz=config.lovasz,
    )


def compile_model(model, config: TrainingConfig, schedule, loss) -> None:
    """Gives the model its loss on every output, and a built optimizer."""
    optimizer = make_optimizer(
        config.optimizer,
        schedule,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        ema_momentum=config.ema,
        accumulate=config.accumulate,
        trainable_variables=model.trainable_variables,
    )
    model.compile(optimizer=optimizer, loss=[loss] * len(model.outputs))
    model.optimizer.build(model.trainable_variables)


def save_model(model, path: Path) -> None:
    """Writes a `.keras` file, whole or not at all."""
    with replacing(path) as temporary:
        model.save(temporary)


def load_model(path):
    """Reads a `.keras` file.

    Raises:
        UserError: When there is none, or it is damaged.
    """
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(f"{path}: no readable .keras model ({error})") from error


def use_all_devices(batch_size: int) -> None:
    """Shares batches between all devices of all processes, where the backend is JAX.

    Raises:
        UsageError: When a batch does not divide among them.
    """
    devices = keras.distribution.list_devices() if keras.backend.backend() == "jax" else []
    if len(devices) <= 1:
        return
    if batch_size % len(devices):
        raise UsageError(
            f"a batch of {batch_size} does not divide among {len(devices)} devices: "
            f"choose a --batch-size that is a multiple of {len(devices)}"
        )
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    if distributed.is_main():
        processes = distributed.share()[1]
        where = f" of {processes} processes" if processes > 1 else ""
        click.echo(f"training on {len(devices)} devices{where}")


def averaged_weights(model, config: TrainingConfig):
    """A context manager factory: the averaged weights are in the model while it is open."""
    if config.ema is None:
        return contextlib.nullcontext

    @contextlib.contextmanager
    def averaged():
        # Keras' own SwapEMAWeights swaps by adding and subtracting. That rounds, and a resumed run
        # would no longer be the uninterrupted one.
        weights = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables]
        model.optimizer.finalize_variable_values(model.trainable_variables)
        for variable in model.trainable_variables:
            # On JAX it now has the optimizer's own buffer, which predicting would take from it.
            variable.assign(keras.ops.copy(variable))
        try:
            yield
        finally:
            for variable, weight in zip(model.trainable_variables, weights):
                variable.assign(weight)

    return averaged
