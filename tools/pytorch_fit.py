"""Trains the project's networks on one GPU in minutes, with PyTorch: what the packaged CamVid
models come from.

    python tools/pytorch_graph.py draw --model bisenetv2 --out graphs/bisenetv2
    python tools/pytorch_fit.py tools/release_gpu.yaml --camvid CamVid --extra STREETS \\
        --graphs graphs --out weights

`keras-bisenet train --resident` does the same on JAX; there XLA tries out algorithms for every
convolution first, which takes as long as this whole training. This file needs PyTorch, NumPy,
Pillow and PyYAML, and nothing of Keras or of the package: it draws the network from its Keras graph
(`pytorch_graph.py`), and its weights go back by the names of the layers.

Views, losses, optimizer and average are those of `keras-bisenet train`: `data/jax_views.py`,
`training/losses.py`, boosters at their own stride, AdamW with decay on kernels, warm-up and
polynomial decay. A job lasts a number of seconds, and the learning rate falls with them, or a
number of `steps`.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import nn

VOID = 255
SOFT_STRIDE = 4
STRIDES = (8, 4, 8, 16, 32)
"""A pixel of each output, before its last enlargement, stands for so many of the image."""

LUMA = (0.2989, 0.587, 0.114)
THREADS = 16
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--camvid", type=Path, required=True)
    parser.add_argument("--extra", type=Path, required=True, help="With images/ and soft/.")
    parser.add_argument("--graphs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    plan = yaml.safe_load(arguments.plan.read_text(encoding="utf-8"))
    # Trying out algorithms costs half a minute, and a step is a third faster.
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    arguments.out.mkdir(parents=True, exist_ok=True)
    camvid, extra = read_camvid(arguments.camvid), read_extra(arguments.extra)
    for job in plan["jobs"]:
        settings = {**plan["common"], **job}
        network = load(arguments.graphs / settings["model"])
        fit(network, camvid, extra, settings)
        shares, class_ids = answers(network, camvid, settings["phases"][-1][2])
        found = miou(class_ids, camvid.mask, shares.shape[-1])
        say(f"{job['name']}: mIoU {found:.4f} on what it was trained on")
        weights = network.keras_weights()
        np.savez(
            arguments.out / f"{job['name']}.npz",
            miou=found,
            images=settings["images"],
            images_per_second=settings["images_per_second"],
            **{k: v for k, v in weights.items() if not k.startswith("booster")},
        )
        # A teacher's answers are soft labels of the jobs behind it.
        if settings.get("teaches"):
            camvid.shares = shares
            camvid.shares_size = torch.tensor([shares.shape[1:3]] * len(shares), device=DEVICE)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


# === Data, on the device ===


class Images:
    """Images with their labels, each in room for the largest: uint8 tensors `[n, ...]`."""

    def __init__(self, images, masks=None, shares=None):
        self.image, self.size = _on_device(images)
        self.mask = _on_device(masks, VOID)[0] if masks else None
        self.shares, self.shares_size = _on_device(shares) if shares else (None, None)

    def __len__(self):
        return len(self.image)


def _on_device(arrays, fill=0):
    """Arrays of several heights and widths as one tensor, and their heights and widths."""
    sizes = np.array([array.shape[:2] for array in arrays])
    stacked = np.full((len(arrays), *sizes.max(0), *arrays[0].shape[2:]), fill, np.uint8)
    for place, array in zip(stacked, arrays):
        place[: array.shape[0], : array.shape[1]] = array
    return torch.from_numpy(stacked).to(DEVICE), torch.from_numpy(sizes).to(DEVICE)


def read_camvid(folder: Path) -> Images:
    """The images of train and val."""
    paths = [path for split in ("train", "val") for path in sorted((folder / split).iterdir())]
    with ThreadPoolExecutor(THREADS) as threads:
        images = list(threads.map(_read_image, paths))
        masks = list(threads.map(_read_mask, paths))
    return Images(images, masks)


def read_extra(folder: Path) -> Images:
    """Images without masks, and their soft labels (docs/training.md)."""
    soft = {path.stem: path for path in (folder / "soft").glob("*.npz")}
    paths = [path for path in sorted((folder / "images").iterdir()) if path.stem in soft]
    with ThreadPoolExecutor(THREADS) as threads:
        images = list(threads.map(_read_image, paths))
        shares = list(threads.map(lambda path: np.load(soft[path.stem])["p"], paths))
    return Images(images, shares=shares)


def _read_image(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def _read_mask(path: Path) -> np.ndarray:
    mask = np.array(
        Image.open(path.parent.with_name(f"{path.parent.name}annot") / f"{path.stem}.png")
    )
    mask[mask >= 11] = VOID
    return mask


# === Random views: as data/jax_views.py, a batch at a time ===


def views(images: Images, index, size, settings: dict, scale):
    """Random views of some images, `[n, 3, h, w]`, with their class ids, `[n, h, w]`, and shares,
    `[n, N, h / SOFT_STRIDE, w / SOFT_STRIDE]`."""
    count, height_and_width = len(index), images.size[index]
    magnified = _uniform(count, *scale)
    stretch = (1 + settings["stretch"]) ** _uniform(count, -0.5, 0.5)
    rows = _spans(height_and_width[:, 0], size[0], magnified / stretch)
    columns = _spans(height_and_width[:, 1], size[1], magnified * stretch)
    inside = _grid_and(rows, columns, size, 1)
    places = [_places(span, side, 1) for span, side in ((rows, size[0]), (columns, size[1]))]
    image = _coloured(_sampled(images.image[index], *places, "bilinear") / 255, inside, settings)
    if images.mask is None:
        class_ids = torch.full((count, *size), VOID, device=DEVICE)
    else:
        class_ids = _sampled(images.mask[index][..., None], *places, "nearest")[:, 0].long()
        class_ids = torch.where(inside[:, 0], class_ids, VOID)
    num_classes = len(settings["class_weights"])
    shares = torch.zeros((count, num_classes, *(s // SOFT_STRIDE for s in size)), device=DEVICE)
    if images.shares is not None:
        ratio = images.shares_size[index] / height_and_width
        places = [
            _places(span, side, SOFT_STRIDE) * ratio[:, axis : axis + 1]
            for axis, (span, side) in enumerate(((rows, size[0]), (columns, size[1])))
        ]
        shares = _sampled(images.shares[index], *places, "bilinear")
        shares = shares * _grid_and(rows, columns, size, SOFT_STRIDE)
        total = shares.sum(1, keepdim=True)
        shares = torch.where(total > 0, shares / total.clamp(min=1e-6), 0.0)
    mirrored = torch.rand(count, device=DEVICE) < 0.5
    return tuple(
        torch.where(mirrored.view(-1, *[1] * (part.ndim - 1)), part.flip(-1), part)
        for part in (image, class_ids, shares)
    )


def _uniform(count, low, high):
    return low + (high - low) * torch.rand(count, device=DEVICE)


def _spans(source, view: int, scale):
    """Start and number of pixels in the source, place and length in the view."""
    source = source.float()
    wanted = torch.round(view / scale)
    taken = torch.minimum(wanted, source)
    scaled = torch.round(source * scale).clamp(1, view)
    length = torch.where(wanted <= source, torch.full_like(source, float(view)), scaled)
    start = torch.floor(torch.rand_like(source) * (source - taken + 1))
    place = torch.floor(torch.rand_like(source) * (view - length + 1))
    return start, taken, place, length


def _centres(view: int, stride: int):
    return ((torch.arange(view // stride, device=DEVICE) + 0.5) * stride)[None]


def _inside(span, view: int, stride: int):
    _, _, place, length = span
    centres = _centres(view, stride)
    return (centres >= place[:, None]) & (centres < (place + length)[:, None])


def _grid_and(rows, columns, size, stride):
    """Where a view shows its image: `[n, 1, h, w]`."""
    rows, columns = _inside(rows, size[0], stride), _inside(columns, size[1], stride)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _places(span, view: int, stride: int):
    """Where the source has what a view's cells show, in its pixels, no further than its window."""
    start, taken, place, length = (part[:, None] for part in span)
    places = start + (_centres(view, stride) - place) * (taken / length)
    return torch.minimum(torch.maximum(places, start + 0.5), start + taken - 0.5)


def _sampled(array, rows, columns, mode: str):
    height, width = array.shape[1:3]
    shape = (len(array), rows.shape[1], columns.shape[1])
    y, x = 2 * rows / height - 1, 2 * columns / width - 1
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], -1)
    array = array.permute(0, 3, 1, 2).float()
    return F.grid_sample(array, grid, mode=mode, padding_mode="border", align_corners=False)


def _coloured(image, inside, settings: dict):
    count, tint, jitter = len(image), settings["tint"], settings["jitter"]
    image = (image * _uniform((count, 3, 1, 1), 1 - tint, 1 + tint)).clamp(0, 1)
    brightness, contrast, saturation = (
        _uniform((count, 1, 1, 1), 1 - jitter, 1 + jitter) for _ in range(3)
    )
    image = image * brightness
    shown = inside.sum((2, 3), keepdim=True).clamp(min=1)
    mean = (_grey(image) * inside).sum((2, 3), keepdim=True) / shown
    image = (image - mean) * contrast + mean
    grey = _grey(image)
    return ((image - grey) * saturation + grey).clamp(0, 1) * inside


def _grey(image):
    return (image * torch.tensor(LUMA, device=image.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def mixed(batch, share: float):
    """CutMix: a rectangle of some views shows the batch's view before."""
    count, _, height, width = batch[0].shape
    area, shape, top, left = torch.rand(4, count, device=DEVICE)
    rows = (area / 2) ** shape
    cut = _piece(height, rows, top)[:, :, None] & _piece(width, area / 2 / rows, left)[:, None, :]
    cut &= (torch.rand(count, device=DEVICE) < share)[:, None, None]
    middle = SOFT_STRIDE // 2
    masks = (cut[:, None], cut, cut[:, None, middle::SOFT_STRIDE, middle::SOFT_STRIDE])
    return tuple(torch.where(m, part.roll(1, 0), part) for m, part in zip(masks, batch))


def _piece(length: int, share, place):
    size = torch.round(length * share)
    start = torch.round(place * (length - size))[:, None]
    pixels = torch.arange(length, device=DEVICE)[None]
    return (pixels >= start) & (pixels < start + size[:, None])


# === The network, from its Keras graph ===


class Twin(nn.Module):
    """A functional model of Keras in PyTorch, channels first; it answers with its heads' scores
    before their last enlargement."""

    def __init__(self, graph: dict, weights):
        super().__init__()
        self.graph = graph
        self.trained = nn.ParameterDict()
        for layer in graph["layers"]:
            name, kind = layer["name"], layer["kind"]
            own = [torch.tensor(weights[k]) for k in _keys(name) if k in weights]
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


def load(place: Path) -> Twin:
    graph = json.loads(place.with_suffix(".json").read_text(encoding="utf-8"))
    with np.load(place.with_suffix(".npz")) as weights:
        return Twin(graph, dict(weights)).to(DEVICE, memory_format=torch.channels_last)


# === Training ===


def fit(network: Twin, camvid: Images, extra: Images, settings: dict) -> None:
    """Trains, and leaves the average of the weights in the network."""
    torch.manual_seed(settings["seed"])
    network.train()
    names = list(network.trained.keys())
    parameters = [network.trained[name] for name in names]
    groups = [
        {
            "params": [p for n, p in zip(names, parameters) if n.endswith("|kernel") == is_kernel],
            "weight_decay": settings["weight_decay"] if is_kernel else 0.0,
        }
        for is_kernel in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, eps=1e-7, fused=DEVICE == "cuda")
    average = [parameter.detach().clone() for parameter in parameters]
    class_weights = torch.tensor(settings["class_weights"], device=DEVICE)
    orders = [_Order(len(camvid)), _Order(len(extra))]
    step, seen, started = 0, 0, time.perf_counter()
    while True:
        if step % 10 == 0 and DEVICE == "cuda":
            torch.cuda.synchronize()  # so that the clock tells what was done
        progress = done(settings, step, started)
        if progress >= 1:
            break
        batch_size, size, scale = phase(settings["phases"], progress)
        warm = min((step + 1) / settings["warmup"], 1)
        for group in optimizer.param_groups:
            group["lr"] = settings["learning_rate"] * warm * (1 - progress) ** 0.9
        rows = round(batch_size * settings["camvid_share"])
        parts = [
            views(images, order.next(count), size, settings, scale)
            for images, order, count in zip((camvid, extra), orders, (rows, batch_size - rows))
        ]
        batch = mixed([torch.cat(part) for part in zip(*parts)], settings["cutmix"])
        image = batch[0].contiguous(memory_format=torch.channels_last)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            outputs = network(image)
        loss = objective(outputs, *batch[1:], class_weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            momentum = min(settings["ema"], (1 + step) / (10 + step))
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - momentum)
        step, seen = step + 1, seen + batch_size
        if step % 250 == 0:
            say(f"{settings['name']}: step {step} ({progress:.0%}), loss {loss.item():.3f}")
    settings["images"] = seen
    settings["images_per_second"] = seen / (time.perf_counter() - started)
    say(f"{settings['name']}: {step} steps, {settings['images_per_second']:.0f} images a second")
    with torch.no_grad():
        for parameter, value in zip(parameters, average):
            parameter.copy_(value)


def done(settings: dict, step: int, started: float) -> float:
    """The share of a job that is done."""
    if "steps" in settings:
        return step / settings["steps"]
    return (time.perf_counter() - started) / settings["seconds"]


def phase(phases, progress: float):
    """Batch size, size and magnification of the phase that a job is in; each has a share of it."""
    end = 0.0
    for share, *settings in phases:
        end += share
        if progress < end:
            return settings
    return settings


class _Order:
    """Numbers below `count` in a random order, again and again."""

    def __init__(self, count: int):
        self.count, self.rest = count, torch.empty(0, dtype=torch.long, device=DEVICE)

    def next(self, number: int):
        while len(self.rest) < number:
            self.rest = torch.cat([self.rest, torch.randperm(self.count, device=DEVICE)])
        taken, self.rest = self.rest[:number], self.rest[number:]
        return taken


def objective(outputs, class_ids, shares, class_weights):
    """The sum over the heads of cross-entropy and of divergence from the soft labels: the main head
    at the image's size, boosters at their own stride."""
    total = 0.0
    for i, (scores, stride) in enumerate(zip(outputs, STRIDES)):
        scores = scores.float()
        if i == 0:
            scores, stride = F.interpolate(scores, scale_factor=stride, mode="bilinear"), 1
        labels = _middle(class_ids, stride)
        total = total + F.cross_entropy(scores, labels, class_weights, ignore_index=VOID)
        common = max(stride, SOFT_STRIDE)
        total = total + divergence(
            _middle(scores, common // stride), _middle(shares, common // SOFT_STRIDE), class_weights
        )
    return total


def divergence(scores, shares, class_weights):
    """See `keras_bisenet.training.losses.distillation`."""
    counted = (shares.sum(1) > 0) * (shares * class_weights.view(1, -1, 1, 1)).sum(1)
    known = torch.log(torch.where(shares > 0, shares, 1.0))
    losses = (shares * (known - F.log_softmax(scores, 1))).sum(1)
    return (losses * counted).sum() / counted.sum().clamp(min=1e-6)


def _middle(pixels, stride: int):
    """The pixel in the middle of each block."""
    return pixels[..., stride // 2 :: stride, stride // 2 :: stride] if stride > 1 else pixels


# === Answers ===


@torch.no_grad()
def answers(network: Twin, images: Images, size):
    """Shares at a quarter of `size`, the mean with the mirror image, uint8 in 255ths; and class ids
    at the images' own size."""
    network.eval()
    shares, class_ids = [], []
    for some in images.image.split(16):
        image = F.interpolate(some.permute(0, 3, 1, 2).float() / 255, tuple(size), mode="bilinear")
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            scores, mirrored = (network(x, boosters=False)[0] for x in (image, image.flip(-1)))
        whole = F.interpolate(scores.float(), some.shape[1:3], mode="bilinear")
        class_ids.append(whole.argmax(1))
        both = [
            F.softmax(F.interpolate(s.float(), scale_factor=2, mode="bilinear"), 1)
            for s in (scores, mirrored)
        ]
        mean = (both[0] + both[1].flip(-1)) / 2
        shares.append((255 * mean).round().to(torch.uint8).permute(0, 2, 3, 1))
    return torch.cat(shares), torch.cat(class_ids)


def miou(class_ids, masks, number: int) -> float:
    counted = masks != VOID
    pairs = masks[counted].long() * number + class_ids[counted]
    confusion = torch.bincount(pairs, minlength=number * number).view(number, -1).double()
    union = confusion.sum(0) + confusion.sum(1) - confusion.diag()
    return (confusion.diag() / union).nanmean().item()


if __name__ == "__main__":
    main()
