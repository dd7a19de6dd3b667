"""Between Keras and `pytorch_fit.py`: a network as a graph for it, and its weights as a run.

    python tools/pytorch_graph.py draw --model bisenetv2 --num-classes 11 --out graphs/bisenetv2
    python tools/pytorch_graph.py run weights.npz --plan tools/release_gpu.yaml --job main \\
        --data-dir CamVid --run runs/camvid

A graph is `OUT.json`, layers in order with what they read, and `OUT.npz`, initial weights by layer.
Weights have Keras' layout on both sides.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import click
import keras
import numpy as np
import yaml

from keras_bisenet.data import load_dataset
from keras_bisenet.data.camvid import CAMVID
from keras_bisenet.data.splits import trained_on_val
from keras_bisenet.files import write_text
from keras_bisenet.models import build_model
from keras_bisenet.training.config import TrainingConfig, make_config
from keras_bisenet.training.evaluation import KerasSegmenter, score
from keras_bisenet.training.keras_settings import keras_settings
from keras_bisenet.training.run import Run
from keras_bisenet.training.saving import save_model

READ = ("strides", "depth_multiplier", "size", "momentum", "epsilon")
"""What `pytorch_fit.py` reads of a layer's configuration."""


@click.group()
def main():
    """Graphs for PyTorch, and runs of what it trained."""


@main.command()
@click.option("--model", default="bisenetv2", show_default=True)
@click.option("--num-classes", type=int, default=11, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path))
def draw(model: str, num_classes: int, seed: int, out: Path):
    """Write a network with its boosters as OUT.json and OUT.npz."""
    with keras_settings(seed):
        network = build_model(model, num_classes, boosters=True)
    layers = [
        {
            "name": layer.name,
            "kind": type(layer).__name__,
            "config": {k: v for k, v in layer.get_config().items() if k in READ},
            "inputs": sources(layer),
        }
        for layer in network.layers
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    graph = {"layers": layers, "outputs": network.output_names}
    write_text(out.with_suffix(".json"), json.dumps(graph, indent=0))
    weights = {
        f"{layer.name}/{i}": weight
        for layer in network.layers
        for i, weight in enumerate(layer.get_weights())
    }
    np.savez(out.with_suffix(".npz"), **weights)


def sources(layer) -> list[str]:
    """The layers that a layer reads, by name."""
    if isinstance(layer, keras.layers.InputLayer):
        return []
    inputs = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in inputs]


@main.command()
@click.argument("weights", type=click.Path(exists=True, path_type=Path))
@click.option("--plan", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--job", required=True, help="Its name in the plan.")
@click.option("--data-dir", required=True, type=click.Path(exists=True))
@click.option("--run", "run_dir", required=True, type=click.Path(path_type=Path))
def run(weights: Path, plan: Path, job: str, data_dir: str, run_dir: Path):
    """Make a run of CamVid, which evaluate, quantize and convert take, of WEIGHTS; scores val."""
    plan = yaml.safe_load(plan.read_text(encoding="utf-8"))
    settings = {**plan["common"], **next(j for j in plan["jobs"] if j["name"] == job)}
    with np.load(weights) as saved:
        options = configuration(settings, data_dir)
        dataset = trained_on_val(load_dataset("camvid", data_dir))
        epochs = max(1, round(int(saved["images"]) / len(dataset.split("train"))))
        config = make_config(TrainingConfig, {**options, "epochs": epochs}, job)
        network = build_model(config.model, CAMVID.num_classes, boosters=False)
        for layer in network.layers:
            if layer.weights:
                layer.set_weights([saved[f"{layer.name}/{i}"] for i in range(len(layer.weights))])
        speed = float(saved["images_per_second"])
    made = Run.create(run_dir, config, CAMVID)
    save_model(network, made.model_file)
    found = score(KerasSegmenter(network, config.size).segment, dataset, dataset.split("val"))
    row = {
        "epoch": config.epochs,
        "loss": math.nan,  # not kept
        "val_miou": found.miou,
        "val_pixel_accuracy": found.pixel_accuracy,
        "learning_rate": 0.0,
        "images_per_second": speed,
    }
    made.write_metrics([row])


def configuration(settings: dict, data_dir: str) -> dict:
    """What a job's last phase is as a configuration of training."""
    *_, (_, batch_size, size, scale) = settings["phases"]
    same = ("model", "learning_rate", "weight_decay", "ema", "jitter", "tint", "stretch", "cutmix")
    return {
        "dataset": "camvid",
        "data_dir": data_dir,
        "train_on_val": True,
        "size": size,
        "scale": scale,
        "batch_size": batch_size,
        "optimizer": "adamw",
        "precision": "mixed_bfloat16",
        "full_boosters": False,
        "class_weights": ",".join(map(str, settings["class_weights"])),
        **{name: settings[name] for name in same},
    }


if __name__ == "__main__":
    main()
