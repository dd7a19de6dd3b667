"""Walking flat functional models of tf_keras, and rewriting them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import tf_keras


def sources(layer) -> list:
    """The layers whose outputs a layer takes."""
    found = []
    for node in layer.inbound_nodes:
        before = node.inbound_layers
        found += before if isinstance(before, list) else [before]
    return found


def consumers(model) -> dict[str, list]:
    """The layers that take each layer's output, by its name."""
    found = defaultdict(list)
    for layer in model.layers:
        for source in sources(layer):
            found[source.name].append(layer)
    return found


def rewritten(model, replacement: Callable):
    """A copy of a model in which some layers are replaced.

    Args:
        model: A functional model of one input, each of whose layers is called once.
        replacement: From a layer to the function from tensors to a tensor that takes its place, or
            None where it stays.

    Returns:
        A model with the weights of the layers that stay.
    """
    tensors, kept = {}, []
    for layer in model.layers:  # a layer comes after those that it takes from
        if isinstance(layer, tf_keras.layers.InputLayer):
            tensors[layer.name] = tf_keras.Input(layer.input_shape[0][1:], name=layer.name)
            continue
        given = [tensors[source.name] for source in sources(layer)]
        replace = replacement(layer)
        if replace is None:
            replace = type(layer).from_config(layer.get_config())
            kept.append((replace, layer))
        tensors[layer.name] = replace(given if len(given) > 1 else given[0])
    inputs, outputs = (tensors[name] for name in (model.input_names[0], model.output_names[0]))
    copy = tf_keras.Model(inputs, outputs, name=model.name)
    for new, layer in kept:
        new.set_weights(layer.get_weights())
    return copy
