"""Trains the project's networks on one GPU in minutes, with PyTorch: what the packaged CamVid
models come from.

    python tools/pytorch_graph.py draw --model bisenetv2 --out graphs/bisenetv2
    python tools/pytorch_fit.py tools/release_gpu_teachers.yaml --camvid CamVid --streets STREETS \\
        --graphs graphs --teachers TEACHERS --out teachers
    python tools/pytorch_fit.py tools/release_gpu.yaml --camvid CamVid --streets STREETS \\
        --graphs graphs --labels teachers/labels.npz --out weights

`keras-bisenet train --resident` does the same on JAX; there XLA tries out algorithms for every
convolution first, which takes as long as this whole training. This file needs PyTorch, NumPy,
Pillow and PyYAML, and nothing of Keras or of the package: it draws the network from its Keras graph
(`pytorch_graph.py`), and its weights go back by the names of the layers.

Views, losses, optimizer and average are those of `keras-bisenet train`: `data/jax_views.py`,
`training/losses.py`, boosters at their own stride, AdamW with decay on kernels, warm-up and
polynomial decay.

The jobs of a plan are trained side by side, each on a stream of its own. A job lasts a number of
seconds, and the learning rate falls with them, or a number of `steps`. Jobs that teach
(`pytorch_teachers.py` has networks for it) leave their answers to CamVid and to the streets, whose
labels nobody drew, as `labels.npz`, for `--labels`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from pytorch_views import (
    DEVICE,
    SOFT_STRIDE,
    VOID,
    Images,
    mixed,
    on_device,
    read_camvid,
    read_streets,
    views,
)
from torch import nn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--camvid", type=Path, required=True)
    parser.add_argument("--streets", type=Path, required=True, help="Folders with images/, soft/.")
    parser.add_argument("--graphs", type=Path, required=True)
    parser.add_argument("--teachers", type=Path, help="Weights that teachers begin with.")
    parser.add_argument("--labels", type=Path, help="Teachers' answers, instead of soft/.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hold-out", help="How names begin that are scored and not trained on.")
    parser.add_argument("--seconds", type=float, help="Of every job, instead of the plan's.")
    arguments = parser.parse_args()
    plan = yaml.safe_load(arguments.plan.read_text(encoding="utf-8"))
    jobs = [{**plan["common"], **job} for job in plan["jobs"]]
    if arguments.seconds:
        jobs = [{**job, "seconds": arguments.seconds, "steps": None} for job in jobs]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    arguments.out.mkdir(parents=True, exist_ok=True)
    splits = plan["common"].get("splits", ("train", "val"))
    camvid, held_out = read_camvid(arguments.camvid, splits, arguments.hold_out)
    folders = {job["streets"] for job in jobs} - {None}
    streets = {folder: read_streets(arguments.streets / folder) for folder in sorted(folders)}
    everything = {"camvid": camvid, **streets}
    say(", ".join(f"{len(images)} of {name}" for name, images in everything.items()))
    if arguments.labels:
        read_labels(arguments.labels, everything)
    fits = [
        Fit(load(job["model"], arguments), camvid, streets.get(job["streets"]), job) for job in jobs
    ]
    train_side_by_side(fits)
    for fit in fits:
        save(fit, camvid, held_out, arguments.out)
    if teachers := [fit for fit in fits if fit.settings.get("teaches")]:
        label_anew(teachers, everything, arguments.out / "labels.npz")


def save(fit: Fit, camvid: Images, held_out: Images | None, out: Path) -> None:
    """Writes a job's weights, and how it answers to what it was trained on or what was held out."""
    settings = fit.settings
    judged = held_out or camvid
    confusion = fit.confusion(judged)
    what = f"{len(judged)} held out" if held_out else f"the {len(judged)} it was trained on"
    iou = intersection_over_union(confusion)
    each = " ".join(f"{100 * value:.1f}" for value in iou)
    say(f"{settings['name']}: mIoU {100 * np.nanmean(iou):.2f} on {what}: {each}")
    found = {"confusion": confusion, "images": fit.seen, "images_per_second": fit.speed}
    if isinstance(fit.network, Twin):
        weights = fit.network.keras_weights()
        found |= {k: v for k, v in weights.items() if not k.startswith("booster")}
    else:
        halves = {
            name: value.half() if value.is_floating_point() else value
            for name, value in fit.network.state_dict().items()
        }
        torch.save(halves, out / f"{settings['name']}.pth")
    np.savez(out / f"{settings['name']}.npz", **found)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


# === The network, from its Keras graph ===


class Twin(nn.Module):
    """A functional model of Keras in PyTorch, channels first; it answers with its heads' scores
    before their last enlargement."""

    strides = (8, 4, 8, 16, 32)

    def __init__(self, graph: dict, weights):
        super().__init__()
        self.graph = graph
        self.trained = nn.ParameterDict()
        for layer in graph["layers"]:
            name, kind = layer["name"], layer["kind"]
            own = [torch.tensor(weights[k]).float() for k in _keys(name) if k in weights]
            if kind == "Conv2D":
                self.trained[f"{name}|kernel"] = nn.Parameter(own[0].permute(3, 2, 0, 1))
                if len(own) > 1:
                    self.trained[f"{name}|bias"] = nn.Parameter(own[1])
            elif kind == "DepthwiseConv2D":
                layer["groups"] = own[0].shape[2]
                kernel = own[0].permute(2, 3, 0, 1).flatten(0, 1)[:, None]
                self.trained[f"{name}|kernel"] = nn.Parameter(kernel)
            elif kind == "BatchNormalization":
                self.trained[f"{name}|gamma"] = nn.Parameter(own[0])
                self.trained[f"{name}|beta"] = nn.Parameter(own[1])
                self.register_buffer(f"{name}_mean", own[2])
                self.register_buffer(f"{name}_variance", own[3])

    def forward(self, image, boosters: bool = True):
        outputs = self.graph["outputs"] if boosters else self.graph["outputs"][:1]
        values, found = {}, {}
        for layer in self.graph["layers"]:
            name = layer["name"]
            if layer["kind"] == "InputLayer":
                values[name] = image
            elif name in outputs:
                found[name] = values[layer["inputs"][0]]
            elif boosters or not name.startswith("booster"):
                values[name] = self._layer(layer, *(values[n] for n in layer["inputs"]))
        return [found[name] for name in outputs]

    def _layer(self, layer: dict, x, *others):
        name, kind, config = layer["name"], layer["kind"], layer["config"]
        if kind in ("Conv2D", "DepthwiseConv2D"):
            kernel, stride = self.trained[f"{name}|kernel"], config["strides"][0]
            bias = self.trained[f"{name}|bias"] if f"{name}|bias" in self.trained else None
            side, groups = kernel.shape[2], layer.get("groups", 1)
            if stride == 1:
                return F.conv2d(x, kernel, bias, padding=side // 2, groups=groups)
            return F.conv2d(_same(x, side, stride), kernel, bias, stride, groups=groups)
        if kind == "BatchNormalization":
            statistics = getattr(self, f"{name}_mean"), getattr(self, f"{name}_variance")
            weights = self.trained[f"{name}|gamma"], self.trained[f"{name}|beta"]
            momentum = 1 - config["momentum"]
            return F.batch_norm(
                x, *statistics, *weights, self.training, momentum, config["epsilon"]
            )
        if kind == "AveragePooling2D":  # what is padded does not count
            ones = torch.ones((1, 1, *x.shape[2:]), device=x.device, dtype=x.dtype)
            total, count = (F.avg_pool2d(_same(part, 3, 2), 3, 2) for part in (x, ones))
            return total / count
        if kind == "UpSampling2D":
            return F.interpolate(x, scale_factor=config["size"][0], mode="bilinear")
        return {
            "ReLU": lambda: F.relu(x),
            "Activation": lambda: torch.sigmoid(x),
            "MaxPooling2D": lambda: F.max_pool2d(_same(x, 3, 2), 3, 2),
            "GlobalAveragePooling2D": lambda: x.mean((2, 3), keepdim=True),
            "Concatenate": lambda: torch.cat([x, *others], 1),
            "Add": lambda: x + others[0],
            "Multiply": lambda: x * others[0],
        }[kind]()

    def keras_weights(self) -> dict[str, np.ndarray]:
        """The weights in Keras' layout, by layer and number."""
        found = {}
        for layer in self.graph["layers"]:
            name, kind, own = layer["name"], layer["kind"], []
            if kind == "Conv2D":
                own = [self.trained[f"{name}|kernel"].permute(2, 3, 1, 0)]
                own += [self.trained[f"{name}|bias"]] if f"{name}|bias" in self.trained else []
            elif kind == "DepthwiseConv2D":
                kernel = self.trained[f"{name}|kernel"]
                own = [kernel.unflatten(0, (layer["groups"], -1))[:, :, 0].permute(2, 3, 0, 1)]
            elif kind == "BatchNormalization":
                own = [self.trained[f"{name}|gamma"], self.trained[f"{name}|beta"]]
                own += [getattr(self, f"{name}_mean"), getattr(self, f"{name}_variance")]
            for key, weight in zip(_keys(name), own):
                found[key] = weight.detach().float().cpu().contiguous().numpy()
        return found


def _keys(name: str) -> list[str]:
    return [f"{name}/{i}" for i in range(4)]


def _same(x, kernel: int, stride: int):
    """TensorFlow's padding: what is odd goes below and to the right."""
    pads = []
    for side in (x.shape[3], x.shape[2]):
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads) if any(pads) else x


def load(model: str, arguments) -> nn.Module:
    """A network; `strides` says for how many of the image's pixels one of each output stands."""
    graph = arguments.graphs / f"{model}.json"
    if graph.is_file():
        with np.load(graph.with_suffix(".npz")) as weights:
            network = Twin(json.loads(graph.read_text(encoding="utf-8")), dict(weights))
    else:
        import pytorch_teachers

        network = pytorch_teachers.load(model, arguments.teachers)
    return network.to(DEVICE, memory_format=torch.channels_last)


# === Training ===


class Fit:
    """One job: a network in training.

    A step, its views and all, is recorded as a CUDA graph once for each phase and replayed, since a
    processor alone cannot launch its many small kernels as fast as the GPU runs them.
    """

    def __init__(self, network, camvid: Images, streets: Images | None, settings: dict):
        self.network, self.settings = network.train(), settings
        self.images = [camvid, streets]
        self.random = torch.Generator(DEVICE).manual_seed(settings["seed"])
        self.order = torch.Generator(DEVICE).manual_seed(settings["seed"])
        self.class_weights = torch.tensor(settings["class_weights"], device=DEVICE)
        self.parameters = list(network.parameters())
        groups = [
            {
                "params": [p for p in self.parameters if (p.ndim > 1) == is_kernel],
                "weight_decay": settings["weight_decay"] if is_kernel else 0.0,
            }
            for is_kernel in (True, False)
        ]
        on_gpu = DEVICE == "cuda"
        self.learning_rate = torch.tensor(0.0, device=DEVICE)
        self.optimizer = torch.optim.AdamW(
            groups, lr=self.learning_rate, eps=1e-7, fused=on_gpu, capturable=on_gpu
        )
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.stream = torch.cuda.Stream() if on_gpu else None
        self.orders: list = [
            _Order(len(part), self.order) if part else None for part in self.images
        ]
        self.phase = self.graph = None
        self.steps = self.seen = 0

    def begin(self) -> None:
        self.started = time.perf_counter()

    def progress(self) -> float:
        """The share of the job that is done."""
        if self.settings.get("steps"):
            return self.steps / self.settings["steps"]
        return (time.perf_counter() - self.started) / self.settings["seconds"]

    def step(self) -> None:
        progress = self.progress()
        settings, phase = self.settings, phase_at(self.settings["phases"], progress)
        shared = self.images[1] is not None and progress < settings.get("streets_until", 1)
        if (phase, shared) != self.phase:
            if DEVICE == "cuda":
                torch.cuda.synchronize()  # the graph before may still run
            self.phase, self.since, self.graph = (phase, shared), 0, None
            share = settings["camvid_share"] if shared else 1
            self.rows = round(phase[0] * share), phase[0] - round(phase[0] * share)
            self.index = [torch.zeros(n, dtype=torch.long, device=DEVICE) for n in self.rows]
        warm = min((self.steps + 1) / settings["warmup"], 1)
        self.learning_rate.fill_(settings["learning_rate"] * warm * max(1 - progress, 0) ** 0.9)
        for index, order, count in zip(self.index, self.orders, self.rows):
            if count:
                index.copy_(order.next(count))
        self.loss = self._recorded() if DEVICE == "cuda" else self._trained()
        momentum = min(settings["ema"], (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            parameters = [p.detach() for p in self.parameters]
            torch._foreach_lerp_(self.average, parameters, 1 - momentum)
        self.steps, self.seen, self.since = self.steps + 1, self.seen + phase[0], self.since + 1

    def _recorded(self):
        """A step by the phase's graph; its first ones warm up what the graph is to find ready."""
        # Trying out algorithms takes half a minute for some networks, and saves a third of a step.
        torch.backends.cudnn.benchmark = self.settings.get("tuned", False)
        if self.since < 3:
            return self._trained()
        if self.graph is None:
            self.optimizer.zero_grad(set_to_none=True)
            self.graph = torch.cuda.CUDAGraph()
            self.graph.register_generator_state(self.random)
            with torch.cuda.graph(self.graph, stream=self.stream):
                self.recorded_loss = self._trained()
        self.graph.replay()
        return self.recorded_loss

    def _trained(self):
        _, size, scale = self.phase[0]
        parts = [
            views(images, index, size, self.settings, scale, self.random)
            for images, index, count in zip(self.images, self.index, self.rows)
            if count
        ]
        batch = [torch.cat(part) for part in zip(*parts)]
        batch = mixed(batch, self.settings["cutmix"], self.random)
        image = batch[0].contiguous(memory_format=torch.channels_last)
        with _bfloat16():
            outputs = self.network(image)
        loss = objective(outputs, self.network.strides, *batch[1:], self.class_weights)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def finish(self) -> None:
        """Leaves the average of the weights in the network."""
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        self.speed = self.seen / (time.perf_counter() - self.started)
        say(f"{self.settings['name']}: {self.steps} steps, {self.speed:.0f} images a second")
        self.graph = None
        with torch.no_grad():
            for parameter, value in zip(self.parameters, self.average):
                parameter.copy_(value)
        self.network.eval()

    @torch.no_grad()
    def confusion(self, images: Images) -> np.ndarray:
        """Pixels by class, `[truth, answer]`, at the images' own size."""
        number, size = len(self.class_weights), self.settings["phases"][-1][2]
        total = torch.zeros(number * number, dtype=torch.long, device=DEVICE)
        for some, truth in zip(images.image.split(16), images.mask.split(16)):
            some = _resized(some.permute(0, 3, 1, 2).float() / 255, size)
            scores = F.interpolate(self._scores(some), truth.shape[1:], mode="bilinear")
            counted = truth != VOID
            pairs = truth[counted].long() * number + scores.argmax(1)[counted]
            total += torch.bincount(pairs, minlength=number * number)
        return total.view(number, number).cpu().numpy()

    @torch.no_grad()
    def shares(self, some):
        """Mean shares of the classes for images `[n, 3, h, w]` and in the mirror."""
        mirrored = self._scores(some.flip(3)).softmax(1).flip(3)
        return (self._scores(some).softmax(1) + mirrored) / 2

    def _scores(self, some):
        with _bfloat16():
            return self.network(some.contiguous(memory_format=torch.channels_last))[0].float()


def _bfloat16():
    # Its cache would hold what a graph may not keep.
    return torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda", cache_enabled=False)


def train_side_by_side(fits: list[Fit]) -> None:
    torch.manual_seed(0)
    if DEVICE == "cuda":
        torch.cuda.synchronize()  # what the jobs begin with came on another stream
    for fit in fits:
        fit.begin()
    rounds, left = 0, list(fits)
    while left:
        for fit in left:
            if fit.stream is None:
                fit.step()
            else:
                with torch.cuda.stream(fit.stream):
                    fit.step()
        rounds += 1
        if rounds % 10 == 0 and DEVICE == "cuda":
            torch.cuda.synchronize()  # so that the clock tells what was done
        if rounds % 500 == 0:
            losses = ", ".join(f"{f.settings['name']} {f.loss.item():.3f}" for f in left)
            say(f"round {rounds}, {left[0].progress():.0%}: {losses}")
        for fit in left:
            if fit.progress() >= 1:
                fit.finish()
        left = [fit for fit in left if fit.progress() < 1]


def phase_at(phases, progress: float):
    """Batch size, size and magnification of the phase that a job is in; each has a share of it."""
    end = 0.0
    for share, *settings in phases:
        end += share
        if progress < end:
            return settings
    return settings


class _Order:
    """Numbers below `count` in a random order, again and again."""

    def __init__(self, count: int, random):
        self.count, self.random = count, random
        self.rest = torch.empty(0, dtype=torch.long, device=DEVICE)

    def next(self, number: int):
        while len(self.rest) < number:
            again = torch.randperm(self.count, device=DEVICE, generator=self.random)
            self.rest = torch.cat([self.rest, again])
        taken, self.rest = self.rest[:number], self.rest[number:]
        return taken


def objective(outputs, strides, class_ids, shares, class_weights):
    """The sum over the heads of cross-entropy and of divergence from the soft labels: the main head
    at the image's size, boosters at their own stride."""
    total = 0.0
    for i, (scores, own) in enumerate(zip(outputs, strides)):
        scores = scores.float()
        wanted = own if i else 1
        labels = _at_stride(class_ids, wanted)
        total = total + F.cross_entropy(
            _brought_to(scores, own, wanted), labels, class_weights, ignore_index=VOID
        )
        common = max(wanted, SOFT_STRIDE)
        total = total + divergence(
            _brought_to(scores, own, common),
            _at_stride(shares, common // SOFT_STRIDE),
            class_weights,
        )
    return total


def divergence(scores, shares, class_weights):
    """See `keras_bisenet.training.losses.distillation`."""
    counted = (shares.sum(1) > 0) * (shares * class_weights.view(1, -1, 1, 1)).sum(1)
    known = torch.log(torch.where(shares > 0, shares, 1.0))
    losses = (shares * (known - F.log_softmax(scores, 1))).sum(1)
    return (losses * counted).sum() / counted.sum().clamp(min=1e-6)


def _brought_to(scores, own: int, wanted: int):
    """Scores interpolated at the middles of blocks of another stride."""
    return (
        scores
        if own == wanted
        else F.interpolate(scores, scale_factor=own / wanted, mode="bilinear")
    )


def _at_stride(pixels, stride: int):
    """See `keras_bisenet.training.strides`."""
    for axis in (-2, -1) if stride > 1 else ():
        block = torch.arange(pixels.shape[axis] // stride, device=pixels.device)
        pixels = pixels.index_select(axis, block * stride + stride // 2 - 1 + block % 2)
    return pixels


# === Teachers' answers ===


def label_anew(teachers: list[Fit], everything: dict[str, Images], file: Path) -> None:
    """The mean of some teachers' answers, as soft labels of all images, in a file. Labels that were
    there stay in it, with the weight `kept`."""
    kept = teachers[0].settings["kept"]
    labels = {}
    for name, images in everything.items():
        found = answers(teachers, images)
        if images.shares is not None:
            known = [_resized(_known(images, i), new.shape[2:]) for i, new in enumerate(found)]
            found = [(1 - kept) * new + kept * old for new, old in zip(found, known)]
        found = [(255 * shares[0]).round().to(torch.uint8).permute(1, 2, 0) for shares in found]
        shares, sizes = on_device([shares.cpu().numpy() for shares in found])
        labels |= {name: shares.cpu().numpy(), f"{name}-sizes": sizes.cpu().numpy()}
    np.savez(file.with_suffix(".tmp.npz"), **labels)
    file.with_suffix(".tmp.npz").rename(file)
    say("the teachers have answered")


def read_labels(file: Path, everything: dict[str, Images]) -> None:
    with np.load(file) as labels:
        for name, images in everything.items():
            images.shares = torch.from_numpy(labels[name]).to(DEVICE)
            images.shares_size = torch.from_numpy(labels[f"{name}-sizes"]).to(DEVICE)


def answers(teachers: list[Fit], images: Images) -> list:
    """For each image its classes' mean shares, `[1, N, h / 4, w / 4]`. It is seen at the height of
    the setting `answers`, through windows of the size that the teachers were trained with, since
    every other size would cost the time that the GPU's libraries take to prepare for it."""
    settings = teachers[0].settings
    height, window = settings["answers"], settings["phases"][-1][2]
    number = settings["phases"][-1][1]
    seen = [_seen(images, i, height, window) for i in range(len(images))]
    windows = [
        (i, top, left)
        for i, image in enumerate(seen)
        for top in _starts(image.shape[2], window[0])
        for left in _starts(image.shape[3], window[1])
    ]
    side = SOFT_STRIDE
    num_classes = len(settings["class_weights"])
    found = [
        torch.zeros((1, num_classes + 1, *(s // side for s in image.shape[2:])), device=DEVICE)
        for image in seen
    ]
    for start in range(0, len(windows), number):
        some = windows[start : start + number]
        views = [seen[i][:, :, y : y + window[0], x : x + window[1]] for i, y, x in some]
        views = torch.cat(views + views[-1:] * (number - len(some)))
        shares = sum(teacher.shares(views) for teacher in teachers) / len(teachers)
        shares = _resized(shares, [length // side for length in window])
        for (i, y, x), share in zip(some, shares):
            place = found[i][0, :, y // side :, x // side :][:, : share.shape[1], : share.shape[2]]
            place[:-1] += share
            place[-1] += 1  # windows overlap: how many have seen a pixel
    sizes = [[-(-length // SOFT_STRIDE) for length in size] for size in images.size.tolist()]
    return [_resized(sums[:, :-1] / sums[:, -1:], size) for sums, size in zip(found, sizes)]


def _seen(images: Images, number: int, height: int, window):
    """An image `[1, 3, h, w]` of about a height, in steps of 8, and no smaller than a window."""
    h, w = images.size[number].tolist()
    image = images.image[number : number + 1, :h, :w].permute(0, 3, 1, 2).float() / 255
    scale = max(height / h, window[0] / h, window[1] / w)
    return _resized(image, [round(length * scale / 8) * 8 for length in (h, w)])


def _starts(length: int, window: int) -> list[int]:
    """Where windows begin that cover a length, in steps of 8."""
    count = -(-length // window)
    if count == 1:
        return [0]
    return [round(i * (length - window) / (count - 1) / 8) * 8 for i in range(count)]


def _known(images: Images, number: int):
    height, width = images.shares_size[number].tolist()
    shares = images.shares[number : number + 1, :height, :width].permute(0, 3, 1, 2).float()
    return shares / shares.sum(1, keepdim=True).clamp(min=1)


def _resized(array, size):
    return F.interpolate(array, tuple(size), mode="bilinear", antialias=True)


def intersection_over_union(confusion: np.ndarray) -> np.ndarray:
    right = np.diag(confusion).astype(float)
    union = confusion.sum(0) + confusion.sum(1) - right
    return np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)


if __name__ == "__main__":
    main()
