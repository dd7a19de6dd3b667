"""Weights from PyTorch: how near the imported network is to the one that they come from.

    python tools/compare_pytorch.py reference lib/models/bisenetv2.py --out WORK --picture FILE
    python tools/compare_pytorch.py logits WORK
    python tools/compare_pytorch.py layers WORK/coincheung.npz
    python tools/compare_pytorch.py train WORK --data-dir CamVid
    python tools/compare_pytorch.py reference ... --weights WORK/trained.pth
    python tools/compare_pytorch.py latency WORK --data-dir CamVid

`reference` runs where PyTorch (or PaddlePaddle) is, and needs nothing of this package: it gives the
implementation's own network random weights and statistics, has PyTorch save them, and keeps its
logits in float32 and float64. `logits` imports that file and prints a table of the differences,
`layers` what rounding to float32 does in each layer of ours.

`train` makes weights that a device's 8 bits can be tried with: the imported layout's network,
trained on CamVid from the packaged weights, written as the implementation would save it.
`latency` measures what the layout's choices cost. docs/pytorch_weights.md has what they print.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import click
import numpy as np
from families.torch_files import random_weights, state_dict_of, write_pth
from PIL import Image

SIZE = (512, 1024)
CLASSES = 19
# Of Cityscapes in CoinCheung's lib/data, of ImageNet in mmsegmentation's configurations, and
# PaddleSeg's defaults.
COLOURS = {
    "coincheung": ((0.3257, 0.3690, 0.3223), (0.2112, 0.2148, 0.2115)),
    "mmseg": (
        np.array((123.675, 116.28, 103.53)) / 255,
        np.array((58.395, 57.12, 57.375)) / 255,
    ),
    "paddleseg": (np.full(3, 0.5), np.full(3, 0.5)),
}
LAYOUT = click.option("--layout", type=click.Choice(COLOURS), default="coincheung")


@click.group()
def main():
    """Compare imported networks with those they come from."""


# === In PyTorch ===


@main.command()
@click.argument("source", type=click.Path(exists=True))
@LAYOUT
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--picture", type=click.Path(exists=True), help="A photo, beside random pixels.")
@click.option("--weights", type=click.Path(exists=True), help="What `train` wrote.")
def reference(source, layout, out, picture, weights):
    """Random weights, and the logits of the network in SOURCE, in OUT/LAYOUT.*; of trained ones
    in OUT/coincheung-trained.*.

    SOURCE is the implementation's own file: CoinCheung's lib/models/bisenetv2.py, mmsegmentation's
    mmseg/models/backbones/bisenetv2.py, which needs mmcv, or PaddleSeg's
    paddleseg/models/bisenet.py, which needs the folder layers beside it.
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures = {"noise": np.random.RandomState(1).randint(0, 256, (*SIZE, 3)).astype(np.uint8)}
    if picture:
        pictures["photo"] = np.asarray(Image.open(picture).convert("RGB").resize(SIZE[::-1]))
    if weights and layout != "coincheung":
        raise click.UsageError("--weights has CoinCheung's layout")
    stem = out / (f"{layout}-trained" if weights else layout)
    if layout == "paddleseg":
        answer = _in_paddle(source, stem.with_suffix(".pdparams"))
    else:
        answer = _in_pytorch(source, layout, stem.with_suffix(".pth"), weights)
    mean, deviation = COLOURS[layout]
    found = {f"{name}/pixels": pixels for name, pixels in pictures.items()}
    for dtype in ("float32", "float64"):
        for name, pixels in pictures.items():
            image = ((pixels / 255 - mean) / deviation).transpose(2, 0, 1)[None].astype(dtype)
            found[f"{name}/{dtype}"] = answer(image)[0].transpose(1, 2, 0)
    np.savez(stem.with_suffix(".npz"), **found)


def _in_pytorch(source, layout, path, weights):
    """Makes and saves the network; returns what answers arrays of either precision."""
    import torch

    trained = torch.load(weights) if weights else {}
    classes = len(trained["head.conv_out.1.bias"]) if trained else CLASSES
    network = {"coincheung": _coincheung, "mmseg": _mmseg}[layout](source, classes).eval()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    values = {k: torch.from_numpy(np.asarray(v)) for k, v in random_weights(shapes).items()}
    network.load_state_dict({**values, **trained})
    torch.save(network.state_dict(), path)
    click.echo(f"PyTorch {torch.__version__}: {path}")

    def answer(image):
        image = torch.from_numpy(image)
        with torch.no_grad():
            logits = network.to(image.dtype)(image)
        # The first of CoinCheung's outputs is that of the main head.
        return (logits[0] if isinstance(logits, (tuple, list)) else logits).numpy()

    return answer


def _in_paddle(source, path):
    import paddle

    # What the file imports of PaddleSeg besides its layers.
    same = types.SimpleNamespace(add_component=lambda it: it)
    activations = {"relu": paddle.nn.ReLU, "sigmoid": paddle.nn.Sigmoid}
    layers = types.ModuleType("paddleseg.models.layers")
    layers.Activation = lambda act: activations[act]()
    models = types.ModuleType("paddleseg.models")
    models.layers = layers
    sys.modules["paddleseg"] = types.SimpleNamespace(utils=None)
    sys.modules["paddleseg.cvlibs"] = types.SimpleNamespace(manager=None, param_init=None)
    sys.modules["paddleseg.cvlibs"].manager = types.SimpleNamespace(MODELS=same)
    sys.modules |= {"paddleseg.models": models, "paddleseg.models.layers": layers}
    for name in ("layer_libs.py", "wrap_functions.py"):
        exec(Path(source).with_name("layers").joinpath(name).read_text(), layers.__dict__)
    module = types.ModuleType("implementation")
    exec(compile(Path(source).read_text(), source, "exec"), module.__dict__)
    module.BiSeNetV2.init_weight = lambda self: None
    paddle.set_device("cpu")
    network = module.BiSeNetV2(CLASSES)
    network.eval()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    network.set_state_dict(random_weights(shapes))
    paddle.save(network.state_dict(), str(path))
    click.echo(f"PaddlePaddle {paddle.__version__}: {path}")

    def answer(image):
        with paddle.no_grad():
            return network.to(dtype=str(image.dtype))(paddle.to_tensor(image))[0].numpy()

    return answer


def _coincheung(source, classes):
    module = types.ModuleType("implementation")
    exec(compile(Path(source).read_text(), source, "exec"), module.__dict__)
    module.BiSeNetV2.load_pretrain = lambda self: None  # it would download weights
    return module.BiSeNetV2(classes, aux_mode="train")


def _mmseg(source, classes):
    """Its backbone with a decode head of the shapes of its FCNHead."""
    import torch
    from mmcv.cnn import ConvModule
    from torch.nn.functional import interpolate

    def resize(input, size, mode, align_corners):
        return interpolate(input, size, mode=mode, align_corners=align_corners)

    # What the file imports of mmsegmentation besides.
    register = types.SimpleNamespace(register_module=lambda: lambda it: it)
    sys.modules["mmseg"] = types.ModuleType("mmseg")
    sys.modules["mmseg.registry"] = types.SimpleNamespace(MODELS=register)
    sys.modules["implementation"] = types.ModuleType("implementation")
    sys.modules["implementation.utils"] = types.SimpleNamespace(resize=resize)
    module = types.ModuleType("implementation.backbones.bisenetv2")
    module.__package__ = "implementation.backbones"
    exec(compile(Path(source).read_text(), source, "exec"), module.__dict__)

    class Head(torch.nn.Module):
        def __init__(self):
            super().__init__()
            norm, act = dict(type="BN"), dict(type="ReLU")
            conv = ConvModule(128, 1024, 3, padding=1, norm_cfg=norm, act_cfg=act)
            self.convs = torch.nn.Sequential(conv)
            self.conv_seg = torch.nn.Conv2d(1024, classes, 1)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.decode_head = module.BiSeNetV2(), Head()

        def forward(self, image):
            logits = self.decode_head.conv_seg(self.decode_head.convs(self.backbone(image)[0]))
            return resize(logits, image.shape[2:], "bilinear", False)

    return Network()


# === Here ===


@main.command()
@click.argument("work", type=click.Path(exists=True, path_type=Path))
def logits(work):
    """Import what `reference` has left in WORK, and print how far the logits are apart."""
    click.echo("| network | picture | computing | largest | norm | pixels with the same class |")
    click.echo("|---|---|---|---|---|---|")
    for path in sorted(work.glob("*.npz")):
        for onednn in ("1", "0"):
            command = [sys.executable, __file__, "differences", str(path)]
            environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn}
            answer = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            for row in json.loads(answer.stdout.splitlines()[-1]):
                click.echo(f"| {' | '.join([path.stem, *row])} |")


@main.command(hidden=True)
@click.argument("path", type=click.Path(exists=True, path_type=Path))
def differences(path):
    """The rows of one process, which has oneDNN or not."""
    from keras_bisenet.models.pytorch import model_from
    from keras_bisenet.models.torch_file import read_tensors

    rows, layout = [], path.stem.partition("-")[0]
    tensors = read_tensors(next(path.parent.glob(f"{path.stem}.p*")))
    onednn = os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"
    with np.load(path) as file:
        found = dict(file)
    model, _, _ = model_from(tensors, layout, *COLOURS[layout])
    for name in ("noise", "photo"):
        if f"{name}/pixels" not in found:
            continue
        pixels = found[f"{name}/pixels"][None]
        theirs, exact = found[f"{name}/float32"], found[f"{name}/float64"]
        ours = np.asarray(model(pixels.astype("float32") / 255))[0]
        if not onednn:
            rows.append([name, "float32 without oneDNN", *_apart(ours, theirs)])
            continue
        rows.append([name, "float32", *_apart(ours, theirs)])
        rows.append([name, "ours in float32, theirs in float64", *_apart(ours, exact)])
        rows.append([name, "theirs in float32 and in float64", *_apart(theirs, exact)])
        ours = np.asarray(_in_float64(tensors, layout)(pixels / 255))[0]
        rows.append([name, "float64", *_apart(ours, exact)])
    click.echo(json.dumps(rows))


def _in_float64(tensors, layout):
    """The imported network in double precision, which a run's never is."""
    import keras

    from keras_bisenet.models import build_model, pytorch

    def doubled(*arguments, **options):
        def copy(layer):
            return type(layer).from_config({**layer.get_config(), "dtype": "float64"})

        return keras.models.clone_model(build_model(*arguments, **options), clone_function=copy)

    with mock.patch.object(pytorch, "build_model", doubled):
        return pytorch.model_from(tensors, layout, *COLOURS[layout])[0]


@main.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--size", default="192x384", show_default=True, help="Of the picture's corner.")
def layers(path, size):
    """What float32 does to our network of PATH, a file of `reference`, layer by layer.

    `own` is the norm of what the layer itself rounds, on exact inputs, of the norm of its output;
    `total` that of all there is so far.
    """
    import keras

    from keras_bisenet.models.pytorch import model_from
    from keras_bisenet.models.torch_file import read_tensors
    from keras_bisenet.training.config import parse_size

    height, width = parse_size(size)
    layout = path.stem.partition("-")[0]
    tensors = read_tensors(next(path.parent.glob(f"{path.stem}.p*")))
    single, _, _ = model_from(tensors, layout, *COLOURS[layout])
    double = _in_float64(tensors, layout)
    with np.load(path) as file:
        name = "photo" if "photo/pixels" in file else "noise"
        image = file[f"{name}/pixels"][None, :height, :width] / 255
    exact, found = (
        {
            layer.name: np.asarray(value)
            for layer, value in zip(
                model.layers, keras.Model(model.input, [x.output for x in model.layers])(image)
            )
        }
        for model in (double, single)
    )
    click.echo("| layer | kind | own | total | deviation of its values |\n|---|---|---|---|---|")
    for layer in single.layers[1:]:
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        given = [exact[x._keras_history.operation.name].astype("float32") for x in inputs]
        answers = (
            np.asarray(one(given if len(given) > 1 else given[0], training=False))
            for one in (layer, double.get_layer(layer.name))
        )
        errors = (_apart(*answers)[1], _apart(found[layer.name], exact[layer.name])[1])
        row = (layer.name, type(layer).__name__, *errors, f"{exact[layer.name].std():.2g}")
        click.echo(f"| {' | '.join(row)} |")


def _apart(ours, theirs) -> list[str]:
    """The largest difference, of the largest logit; the norm, of the norm; equal classes."""
    largest = np.abs(ours - theirs).max() / np.abs(theirs).max()
    norm = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    same = np.mean(ours.argmax(-1) == theirs.argmax(-1))
    return [f"{largest:.1e}", f"{norm:.1e}", f"{100 * same:.4f}%"]


@main.command()
@click.argument("work", type=click.Path(path_type=Path))
@click.option("--data-dir", required=True, help="CamVid's folder.")
@click.option("--epochs", default=4, show_default=True)
@click.option("--size", default="192x256", show_default=True)
def train(work, data_dir, epochs, size):
    """Train CoinCheung's network on CamVid; writes WORK/trained.pth in its names."""
    from keras_bisenet.cli import main as keras_bisenet
    from keras_bisenet.models import build_model
    from keras_bisenet.models.pytorch import LAYOUTS
    from keras_bisenet.pretrained import pretrained_weights
    from keras_bisenet.training.saving import load_model, save_model

    options = {**LAYOUTS["coincheung"].options, "head_width": 1024}
    work.mkdir(parents=True, exist_ok=True)
    start = build_model("bisenetv2", 11, **options)
    fresh = start_from(load_model(pretrained_weights("camvid")), start)
    click.echo(f"random at first: {', '.join(fresh)}")
    save_model(start, work / "start.keras")
    settings = {"model_options": options, "boosters": False, "optimizer": "adamw"}
    (work / "train.yaml").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    arguments = [
        *("train", "--config", work / "train.yaml", "--dataset", "camvid", "--data-dir", data_dir),
        *("--weights", work / "start.keras", "--run", work / "run", "--size", size),
        *("--epochs", epochs, "--batch-size", "8", "--learning-rate", "0.001"),
    ]
    keras_bisenet([str(argument) for argument in arguments], standalone_mode=False)
    trained = load_model(work / "run" / "model.keras")
    write_pth(work / "trained.pth", state_dict_of(trained, LAYOUTS["coincheung"]))
    click.echo(str(work / "trained.pth"))


@main.command()
@click.argument("work", type=click.Path(path_type=Path))
@click.option("--data-dir", required=True, help="CamVid's folder.")
@click.option("--size", default="384x480", show_default=True)
@click.option("--target", default="cpu", show_default=True)
def latency(work, data_dir, size, target):
    """What the layouts' choices cost in 8 bits: int8 files of random weights, in turns."""
    from keras_bisenet.data import load_dataset
    from keras_bisenet.export.convert import convert
    from keras_bisenet.files import write_bytes
    from keras_bisenet.models import build_model
    from keras_bisenet.models.pytorch import LAYOUTS
    from keras_bisenet.quantization.quantizer import quantize
    from keras_bisenet.runtime.bench import measure, synthetic_image
    from keras_bisenet.runtime.segmenter import Segmenter
    from keras_bisenet.training.config import (
        QuantizationConfig,
        TrainingConfig,
        make_config,
        parse_size,
    )
    from keras_bisenet.training.run import Run
    from keras_bisenet.training.saving import save_model

    size = parse_size(size)
    theirs = LAYOUTS["coincheung"].options
    variants = {
        "ours": {},
        "coincheung": {**theirs, "head_width": 1024},
        "coincheung, head of 128": {**theirs, "head_width": 128},
        "coincheung, head of 128, padding same": {**theirs, "head_width": 128, "padding": "same"},
    }
    labels = load_dataset("camvid", data_dir).label_map
    choice = QuantizationConfig(mode="ptq", target=target, calibration_images=2)
    segmenters = []
    for name, options in variants.items():
        place = work / f"latency-{''.join(c if c.isalnum() else '-' for c in name)}-{target}"
        if not (place / "int8.tflite").exists():
            shutil.rmtree(place, ignore_errors=True)
            values = {"dataset": "camvid", "data_dir": data_dir, "size": size}
            config = make_config(TrainingConfig, {**values, "model_options": options})
            run = Run.create(place / "float", config, labels)
            save_model(build_model("bisenetv2", labels.num_classes, **options), run.model_file)
            int8 = Run.create(place / "ptq", config, labels, choice)
            quantize(run, int8, choice)
            write_bytes(place / "int8.tflite", convert(int8))
        segmenters.append(Segmenter(place / "int8.tflite", threads=1))
    found = measure(segmenters, [synthetic_image(size)] * len(variants), runs=30, warmup=3)
    turns = np.array([[timing.invoke for timing in timings] for timings in found])
    click.echo("| network | ms | of ours |\n|---|---|---|")
    for name, times in zip(variants, turns):
        click.echo(f"| {name} | {np.median(times):.1f} | {_ratio(times, turns[0])} |")
    click.echo(f"symmetric padding, head of 128: {_ratio(turns[2], turns[3])} of padding same")


def _ratio(times, others) -> str:
    """Turn by turn: the median, and the middle half."""
    low, median, high = np.quantile(times / others, (0.25, 0.5, 0.75))
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def start_from(source, target) -> list[str]:
    """Copies what fits, and brings images to the layout's colours. Returns the names of the rest.

    The packaged network takes images as they are: what its first convolutions know of them moves
    into their kernels and normalizations.
    """
    mean, deviation = (np.asarray(colour, np.float32) for colour in COLOURS["coincheung"])
    scale = (1 / deviation).reshape(1, 1, 3, 1)
    target.get_layer("image_norm").set_weights([scale, -mean / deviation])
    given = {layer.name: layer.get_weights() for layer in source.layers}
    for name in ("detail_s1_1", "semantic_stem_conv"):
        (kernel,) = given[name]
        gamma, beta, moving_mean, variance = given[f"{name}_bn"]
        constant = np.einsum("hwio,i->o", kernel, mean)
        given[name] = [kernel * deviation[:, None]]
        given[f"{name}_bn"] = [gamma, beta, moving_mean - constant, variance]
    fresh = []
    for layer in target.layers:
        if layer.weights and layer.name != "image_norm":
            values = given.get(layer.name, [])
            if [v.shape for v in values] == [tuple(w.shape) for w in layer.weights]:
                layer.set_weights(values)
            else:
                fresh.append(layer.name)
    return fresh


if __name__ == "__main__":
    main()
