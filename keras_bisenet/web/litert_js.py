"""LiteRT.js, the runtime of the page: npm's packages @litertjs/core and @litertjs/wasm-utils.

Their files are taken as they are, from a folder that holds `core` and `wasm-utils` as npm's
`node_modules/@litertjs` does: the one named by `--runtime`, or `vendor` here, which `make web`
fills and a wheel built after it carries.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from keras_bisenet.errors import UserError

VERSION = "2.5.3"
"""The version that the page is tested with; web_demo/package.json has it too."""

VENDORED = Path(__file__).with_name("vendor")

FILES = (
    "core/package.json",
    "core/dist/index.js",
    "core/wasm/litert_wasm_internal.js",
    "core/wasm/litert_wasm_internal.wasm",
    "core/wasm/litert_wasm_compat_internal.js",  # for browsers without relaxed SIMD
    "core/wasm/litert_wasm_compat_internal.wasm",
    "core/wasm/litert_wasm_threaded_internal.js",
    "core/wasm/litert_wasm_threaded_internal.wasm",
    "core/wasm/litert_wasm_jspi_internal.js",  # for WebGPU
    "core/wasm/litert_wasm_jspi_internal.wasm",
    "wasm-utils/package.json",
    "wasm-utils/dist/index.js",
)
"""What a page can need of the packages: 38 MB, of which a browser loads a quarter."""

_CURE = f"npm install @litertjs/core@{VERSION}, then add --runtime node_modules/@litertjs"


@dataclass(frozen=True)
class LiteRtJs:
    """Where the page has LiteRT.js from.

    Attributes:
        packages: The folder to copy it from; None where it stays on the web.
        address: The page's address of it, which ends in "/".
        version: Its version; empty where it stays on the web.
    """

    packages: Path | None
    address: str
    version: str


def find_litert_js(place: str | None) -> LiteRtJs:
    """LiteRT.js at a folder or a web address, or without either what `make web` made.

    Raises:
        UserError: When it is not in the folder.
    """
    if place and re.match("https?://", place):
        return LiteRtJs(None, f"{place.rstrip('/')}/", "")
    packages = Path(place) if place else VENDORED
    missing = [packages / name for name in FILES if not (packages / name).is_file()]
    if missing and place:
        raise UserError(f"{missing[0]}: no such file, so LiteRT.js is not in {place}: {_CURE}")
    if missing:
        raise UserError(f"LiteRT.js, which runs the model in the page, is not here: {_CURE}")
    package = json.loads((packages / "core/package.json").read_text(encoding="utf-8"))
    return LiteRtJs(packages, "runtime/", package["version"])


def copy_litert_js(packages: Path, folder: Path) -> None:
    """Copies the packages' `FILES` to `folder`."""
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(packages / name, folder / name)


if __name__ == "__main__":  # `make web`
    find_litert_js(sys.argv[1])
    copy_litert_js(Path(sys.argv[1]), VENDORED)
