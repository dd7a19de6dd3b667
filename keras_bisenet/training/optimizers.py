"""Optimizers and the learning rate schedule of the paper (Section 5.1)."""

from __future__ import annotations

import keras
from keras import ops


def is_decayed(variable) -> bool:
    """Whether weight decay applies: to convolution kernels, not to biases and normalization."""
    return variable.path.rsplit("/", 1)[-1] == "kernel"


@keras.saving.register_keras_serializable("keras_bisenet")
class SGD(keras.optimizers.SGD):
    """SGD with momentum and L2 weight decay on convolution kernels.

    Here, as in the paper, the decay is part of the gradient and so goes through the momentum;
    `keras.optimizers.SGD(weight_decay=...)` decouples it, which makes the same number about
    1 / (1 - momentum) times weaker.
    """

    def __init__(self, *args, l2: float = 0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.l2 = l2

    def apply(self, grads, trainable_variables=None):
        variables = trainable_variables or self._trainable_variables  # as the base class does
        grads = [
            gradient + self.l2 * ops.cast(variable, gradient.dtype)
            if self.l2 and is_decayed(variable)
            else gradient
            for gradient, variable in zip(grads, variables)
        ]
        return super().apply(grads, trainable_variables)

    def get_config(self):
        return {**super().get_config(), "l2": self.l2}


@keras.saving.register_keras_serializable("keras_bisenet")
class WarmupPolynomialDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises in a line from 0 to `peak`, then falls as (1 - progress) ** power to 0.

    Args:
        peak: float. The largest learning rate.
        total_steps: int. The step at which it reaches 0.
        warmup_steps: int. The step at which it reaches `peak`.
        power: float. 0.9 in the paper.
    """

    def __init__(self, peak: float, total_steps: int, warmup_steps: int = 0, power: float = 0.9):
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.power = power

    def __call__(self, step):
        step = ops.cast(step, "float32")
        # The first step trains too: it is number 1 of the warm-up.
        rising = (step + 1) / max(self.warmup_steps, 1)
        progress = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        falling = ops.power(1 - ops.clip(progress, 0.0, 1.0), self.power)
        return self.peak * ops.where(step < self.warmup_steps, rising, falling)

    def get_config(self):
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "power": self.power,
        }


def make_optimizer(
    name: str,
    learning_rate,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    ema_momentum: float | None = None,
    accumulate: int = 1,
    trainable_variables=(),
):
    """The optimizer that a configuration names.

    Args:
        name: `"sgd"` or `"adamw"`.
        learning_rate: A number or a schedule.
        momentum: SGD's momentum.
        weight_decay: On convolution kernels alone: L2 for SGD, decoupled for AdamW.
        ema_momentum: Keeps a moving average of the weights with this momentum; None, none.
        accumulate: Batches whose gradients are averaged before each update.
        trainable_variables: The variables it will update.
    """
    options = {
        "use_ema": ema_momentum is not None,
        "ema_momentum": 0.99 if ema_momentum is None else ema_momentum,
        "gradient_accumulation_steps": accumulate if accumulate > 1 else None,
    }
    if name == "sgd":
        return SGD(learning_rate, momentum=momentum, l2=weight_decay, **options)
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay, **options)
    optimizer.exclude_from_weight_decay([v for v in trainable_variables if not is_decayed(v)])
    return optimizer
