"""A network as a device runs it: no training heads, folded, and without the last resize."""

from __future__ import annotations

from keras_bisenet.models import build_model, find_family


def deployment_model(source, name: str, input_shape=None, *, keras=None, **options):
    """Rebuilds a trained model as it is put on a device.

    It has no boosters, what stands in a device's way is folded away as its family says, and a
    bilinear upsampling at the very end is left to the runtime, which goes from small logits
    straight to the image's own size.

    Args:
        source: A trained model made by `build_model(name, ..., **options)`.
        name: str. The model's name in `models.MODELS`.
        input_shape: `(height, width, 3)`; defaults to the source's.
        keras: The Keras that builds it: `keras` (None, the default) or `tf_keras`.
        **options: The arguments that `source` was built with.

    Returns:
        A model from images to the main head's logits, equal to `source`'s up to rounding; they
        have the image's size only where the last upsampling is not bilinear.
    """
    family = find_family(name)
    model = build_model(
        name,
        source.outputs[0].shape[-1],
        input_shape or source.input_shape[1:],
        keras=keras,
        **{**options, "boosters": False, **family.device_options},
    )
    copy_weights(source, model, family.fold(source))
    last = model.layers[-1]
    if getattr(last, "interpolation", None) == "bilinear":
        model = type(model)(model.input, last.input, name=model.name)
    return model


def copy_weights(source, target, replaced=None) -> None:
    """Copies the weights of every layer of `target` from the layer of that name in `source`.

    The two may come from different Kerases: weights travel as NumPy arrays. `target` may lack
    layers that `source` has (the boosters), not the other way round.

    Args:
        source: A model.
        target: A model.
        replaced: Weights of layers that do not get the source's, by name.

    Raises:
        ValueError: When `source` lacks a layer, or a shape differs.
    """
    replaced = replaced or {}
    for layer in target.layers:
        if layer.weights:
            values = replaced.get(layer.name) or source.get_layer(layer.name).get_weights()
            layer.set_weights(values)
