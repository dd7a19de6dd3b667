"""What a pixel of each class counts in the loss, from how often the class occurs."""

from __future__ import annotations

import numpy as np

from keras_bisenet.errors import UsageError

CLASS_WEIGHTINGS = ("none", "sqrt", "enet", "median")


def class_weights(weighting: str, pixels) -> tuple[float, ...] | None:
    """Weights of the classes, with a mean of 1 over the pixels.

    Args:
        weighting: `none`; `sqrt`, 1 / sqrt(share); `enet`, 1 / ln(1.02 + share) (Paszke et al.,
            arXiv:1606.02147, Section 5.2); `median`, median of the shares / share (Eigen and
            Fergus, arXiv:1411.4734, Section 6.3, over all pixels); or a number per class,
            separated by commas, which stay as they are.
        pixels: How many pixels each class has, `[num_classes]`. A class without any weighs as
            much as the rarest of the others.

    Returns:
        A weight per class, or None for `none`.

    Raises:
        UsageError: When the weighting is unknown, or its numbers do not fit the classes.
    """
    check_class_weighting(weighting)
    if weighting == "none":
        return None
    pixels = np.asarray(pixels, np.float64)
    if weighting not in CLASS_WEIGHTINGS:
        check_class_weighting(weighting, len(pixels))
        return tuple(float(weight) for weight in weighting.split(","))
    if not pixels.any():
        raise UsageError("class_weights: no pixel has a class: choose none")
    shares = pixels / pixels.sum()
    shares = np.where(shares > 0, shares, shares[shares > 0].min())
    if weighting == "sqrt":
        weights = 1 / np.sqrt(shares)
    elif weighting == "enet":
        weights = 1 / np.log(1.02 + shares)
    else:
        weights = np.median(shares) / shares
    return tuple((weights / np.average(weights, weights=pixels)).tolist())


def check_class_weighting(weighting: str, num_classes: int | None = None) -> None:
    """Checks what can be checked before the pixels are counted.

    Args:
        weighting: As `class_weights` takes it.
        num_classes: int. How many classes there are, where that is known.

    Raises:
        UsageError: When `weighting` is no choice of `class_weights`, or does not fit the classes.
    """
    if weighting in CLASS_WEIGHTINGS:
        return
    try:
        weights = [float(weight) for weight in weighting.split(",")]
    except ValueError:
        weights = []
    if not weights or not all(0 <= weight < float("inf") for weight in weights):
        raise UsageError(
            f"class_weights: {weighting!r} is none of {', '.join(CLASS_WEIGHTINGS)}, "
            "nor a list of numbers such as 1,1,2.5"
        )
    if not any(weights):
        raise UsageError(f"class_weights: {weighting!r}: no pixel would count: give one above 0")
    if num_classes is not None and len(weights) != num_classes:
        raise UsageError(
            f"class_weights: {len(weights)} weights for {num_classes} classes: "
            "give one for each class"
        )
