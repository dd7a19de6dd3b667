"""Training a float model from a configuration, on any backend of Keras 3.

The JAX backend shares each batch between all devices: those of one host, or of several hosts with
a process on each (`keras_bisenet.training.distributed`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

import keras

from keras_bisenet.class_weights import class_weights
from keras_bisenet.console import log
from keras_bisenet.data.augmentation import SOFT_STRIDE, Augmentation
from keras_bisenet.data.dataset import Dataset
from keras_bisenet.data.soft_labels import SoftLabels
from keras_bisenet.data.training_samples import Extra, TrainingSamples
from keras_bisenet.errors import UserError
from keras_bisenet.models import build_model
from keras_bisenet.models.deployment import copy_weights
from keras_bisenet.progress import progress_bar
from keras_bisenet.training import distributed
from keras_bisenet.training.config import TrainingConfig, write_config
from keras_bisenet.training.devices import check_resident, suitable_precision, use_all_devices
from keras_bisenet.training.distillation import open_sources
from keras_bisenet.training.ema import averaged_weights
from keras_bisenet.training.evaluation import KerasSegmenter
from keras_bisenet.training.keras_settings import keras_settings
from keras_bisenet.training.loop import TrainingLoop
from keras_bisenet.training.losses import distillation, make_loss, over_outputs
from keras_bisenet.training.optimizers import WarmupPolynomialDecay, make_optimizer
from keras_bisenet.training.run import Run
from keras_bisenet.training.saving import load_model, save_model
from keras_bisenet.training.step import training_model
from keras_bisenet.training.steps import ResidentSteps, StepByStep
from keras_bisenet.training.weights import copy_trained, find_weights


def train(config: TrainingConfig, run: Run) -> list[dict[str, float]]:
    """Trains what `config` says into `run`, from its newest checkpoint if it has one.

    Keras' global settings are the caller's again when it returns.

    Returns:
        The rows of `metrics.csv`.

    Raises:
        UserError: When the data is missing or bad.
    """
    with keras_settings(config.seed):
        return _train(settled(config, run), run)


def settled(config: TrainingConfig, run: Run) -> TrainingConfig:
    """The configuration with the precision that `auto` means, written into the run.

    A run that goes on keeps the precision that it began with, whatever this machine suits.
    """
    if config.precision != "auto":
        return config
    has_file = run.config_file.is_file()
    precision = run.config.precision if has_file else "auto"
    if precision == "auto":
        precision, reason = suitable_precision()
        if distributed.is_main():
            log.info("computing in %s: %s", precision, reason)
    config = dataclasses.replace(config, precision=precision)
    if has_file and distributed.is_main():
        write_config(run.config_file, config)
    return config


def _train(config: TrainingConfig, run: Run) -> list[dict[str, float]]:
    if config.resident:
        check_resident()
    dataset = run.load_dataset(config)
    # A teacher answers on one device, before the batches are shared. What is drawn to open it must
    # not be missing from the initial weights of a run that goes on and has its answers already.
    with keras_settings(config.seed):
        soft, extra = open_sources(config, run, dataset)
    use_all_devices(config.batch_size)
    pipeline = open_pipeline(
        dataset,
        config,
        config.batch_size,
        config.seed,
        Augmentation.of(config),
        distributed.share(),
        soft,
        extra,
        config.resident,
    )
    distributed.check_same(
        configuration=dataclasses.replace(config, data_dir=""),
        data_set=(dataset.label_map, [sample.image.name for sample in pipeline.samples]),
        run_directory=run.read_metrics(),
    )
    plain = build_model(
        config.model,
        dataset.label_map.num_classes,
        **{**config.model_options, "boosters": config.boosters},
    )
    if config.weights and not run.read_metrics():
        start_from(config.weights, plain)
    model = training_model(plain, config.precision, config.loss_stride, config.full_boosters)
    # Where gradients accumulate, Keras asks the schedule by the number of batches, not of updates.
    schedule = WarmupPolynomialDecay(
        config.peak_learning_rate,
        total_steps=config.epochs * pipeline.steps_per_epoch,
        warmup_steps=round(config.warmup_epochs * pipeline.steps_per_epoch),
        power=config.power,
    )
    soft_loss = configured_soft_loss(config, pipeline) if soft or extra else None
    compile_model(model, config, schedule, configured_loss(config, pipeline), soft_loss)
    # What is validated and saved: float32, without boosters, at the image's size.
    inference = keras.Model(plain.inputs[0], plain.outputs[0], name=config.model.replace("-", "_"))
    evaluating = brought_into(inference, model)
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
        steps=ResidentSteps if config.resident else StepByStep,
    )
    return loop()


def brought_into(inference, model) -> Callable[[], contextlib.AbstractContextManager]:
    """A context manager factory: brings a model's weights, averaged if it averages them, into the
    plain graph that is validated and saved."""
    averaged = averaged_weights(model)

    @contextlib.contextmanager
    def brought():
        with averaged():
            copy_weights(model, inference)
        yield

    return brought


def open_pipeline(
    dataset: Dataset,
    config: TrainingConfig,
    batch_size: int,
    seed: int,
    augmentation: Augmentation,
    share: tuple[int, int] = (0, 1),
    soft: SoftLabels | None = None,
    extra: Extra | None = None,
    resident: bool = False,
) -> TrainingSamples:
    """Batches of a data set's training split, read ahead where they fit in memory."""
    if resident:
        from keras_bisenet.data.resident import ResidentPipeline as Pipeline
    else:
        from keras_bisenet.data.pipeline import TrainingPipeline as Pipeline
    samples = dataset.split("train")
    pipeline = Pipeline(
        dataset, samples, config.size, batch_size, seed, augmentation, share, soft, extra
    )
    num_extra = len(extra.samples) if extra else 0
    with progress_bar("reading images", len(samples) + num_extra) as bar:
        pipeline.preload(bar)
    return pipeline


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
    log.info("starting from %s%s", path, ", with a new head" if is_new_head else "")


def configured_loss(config: TrainingConfig, pipeline: TrainingSamples):
    """The loss that `config` describes, with class weights as the split asks for them.

    Raises:
        UsageError: When the class weights do not fit the classes.
    """
    return make_loss(
        config.loss,
        class_weights=configured_class_weights(config, pipeline),
        ohem_threshold=config.ohem_threshold,
        ohem_share=config.ohem_share,
        dice=config.dice,
        lovasz=config.lovasz,
    )


def configured_soft_loss(config: TrainingConfig, pipeline: TrainingSamples):
    """The loss that `config` describes for soft labels, with the class weights of the others."""
    weights = configured_class_weights(config, pipeline)
    return distillation(config.soft_weight, config.temperature, weights)


def configured_class_weights(config: TrainingConfig, pipeline: TrainingSamples):
    """What a pixel of each class counts; None, all the same."""
    if config.class_weights == "none":
        return None
    return class_weights(config.class_weights, pipeline.count_pixels())


def compile_model(model, config: TrainingConfig, schedule, loss, soft_loss=None) -> None:
    """Gives a `TrainingModel` what it learns by, and a built optimizer."""
    optimizer = make_optimizer(
        config.optimizer,
        schedule,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        ema_momentum=config.ema,
        accumulate=config.accumulate,
        trainable_variables=model.trainable_variables,
    )
    model.objective = over_outputs(loss, model.strides, model.label_strides, soft_loss, SOFT_STRIDE)
    model.compile(optimizer=optimizer)
    model.optimizer.build(model.trainable_variables)
