"""How the steps of a run are taken: one by one from a host's batches, or an epoch of them as one
program on an accelerator."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np


class StepByStep:
    """Takes steps with what Keras 3 and tf_keras both have, on every backend.

    Args:
        model: A compiled model.
        pipeline: A `TrainingPipeline`.
        first_epoch: int. Epochs that have been trained before.
    """

    def __init__(self, model, pipeline, first_epoch: int):
        self._model = model
        self._steps_per_epoch = pipeline.steps_per_epoch
        self._batches = pipeline.arrays(first_epoch)

    def epoch(self, number: int) -> Iterator[float]:
        """Trains the next epoch; the loss of each step."""
        for _ in range(self._steps_per_epoch):
            images, labels = next(self._batches)
            # Before Keras 3.15 the loss is an average over the batches since the last reset.
            self._model.reset_metrics()
            logs = self._model.train_on_batch(
                images, labels, sample_weight=self._weights(images), return_dict=True
            )
            yield float(logs["loss"])

    def _weights(self, images):
        """None, or, where several devices share a batch, ones that nothing looks at: many versions
        of Keras 3 cannot divide None among devices."""
        if keras.distribution.distribution() is None:
            return None
        return np.ones(len(images), np.float32)

    def bring_back(self) -> None:
        """Puts the state into the model's and the optimizer's variables: it is there already."""


class ResidentSteps:
    """Takes an epoch's steps as one program of JAX, which makes its batches itself.

    Between the steps nothing crosses to the host: neither images, nor weights, nor the order to
    take the next one.

    Args:
        model: A compiled `TrainingModel` of Keras 3 on JAX.
        pipeline: A `ResidentPipeline`.
        first_epoch: int. Epochs that have been trained before.
    """

    def __init__(self, model, pipeline, first_epoch: int):
        import jax

        self._model = model
        self._pipeline = pipeline
        self._sources = jax.device_put(pipeline.sources())
        self._state = [[v.value for v in variables] for variables in self._variables()]
        self._train = jax.jit(self._trained_epoch)

    def epoch(self, number: int) -> Iterator[float]:
        """Trains epoch `number`, from 1; the loss of each step."""
        self._state, losses = self._train(self._state, self._sources, number - 1)
        yield from keras.ops.convert_to_numpy(losses).tolist()

    def bring_back(self) -> None:
        """Puts the state into the model's and the optimizer's variables."""
        for variables, values in zip(self._variables(), self._state):
            for variable, value in zip(variables, values):
                variable.assign(value)

    def _variables(self) -> list[list]:
        model = self._model
        return [
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
        ]

    def _trained_epoch(self, state, sources, epoch):
        import jax

        first = epoch * self._pipeline.steps_per_epoch

        def step(state, place):
            images, labels = self._pipeline.batch(sources, first + place)
            return self._trained(state, images, labels)

        return jax.lax.scan(step, state, jax.numpy.arange(self._pipeline.steps_per_epoch))

    def _trained(self, state, images, labels):
        """The state after a step, and the step's loss."""
        import jax

        trainable, others, of_optimizer = state

        def loss_of(trainable):
            outputs, updated = self._model.stateless_call(trainable, others, images, training=True)
            loss = self._model.compute_loss(y=labels, y_pred=outputs)
            return loss, updated

        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable)
        trainable, of_optimizer = self._model.optimizer.stateless_apply(
            of_optimizer, gradients, trainable
        )
        return [trainable, others, of_optimizer], loss
