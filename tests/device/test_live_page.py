"""The live page in Chromium, by what it shows and does.

Needs Chromium, Node and playwright-core: in `web_demo` (`npm ci`), or in the folder that
`KERAS_BISENET_PLAYWRIGHT` names. With `KERAS_BISENET_SCREENSHOTS=FOLDER` it leaves screenshots.
"""

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from test_live_sources import Numbered
from tflite_tiny import NAMES, tiny_model

from keras_bisenet.runtime.loop import run_loop
from keras_bisenet.runtime.segmenter import Segmenter
from keras_bisenet.runtime.sinks import Style
from keras_bisenet.runtime.sinks.http import About, LiveServer
from keras_bisenet.runtime.sinks.view import View
from keras_bisenet.runtime.statistics import Statistics

SCRIPT = Path(__file__).with_name("live_page.mjs")
WEB_DEMO = Path(__file__).parents[2] / "web_demo"


def tools() -> tuple[str, str, Path]:
    """Node, Chromium, and the folder that playwright-core is installed in."""
    node = shutil.which("node")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    folder = Path(os.environ.get("KERAS_BISENET_PLAYWRIGHT", WEB_DEMO))
    if not (node and chromium and (folder / "node_modules" / "playwright-core").is_dir()):
        pytest.skip("no Chromium, Node and playwright-core here")
    return node, chromium, folder


def test_the_page_shows_the_camera_and_its_controls_work():
    node, chromium, folder = tools()
    segmenter = Segmenter(tiny_model((48, 64)))
    view, statistics = View(Style(segmenter.info.names, segmenter.info.palette)), Statistics()
    about, stop = About("numbered", "tiny.tflite", "a runtime"), threading.Event()
    loop = threading.Thread(
        target=run_loop,
        args=(Numbered(fps=15), segmenter, view),
        kwargs={"statistics": statistics, "stop": stop},
        daemon=True,
    )
    with LiveServer(("127.0.0.1", 0), view, statistics, about, token="a secret of many") as server:
        loop.start()
        command = [node, SCRIPT, server.url, chromium, folder]
        command += filter(None, [os.environ.get("KERAS_BISENET_SCREENSHOTS")])
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        stop.set()
        loop.join()
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["errors"] == []
    # What the controls do, they do in the browser: nothing is asked of the server for it.
    assert seen["methods"] == ["GET"]
    paths = {urlsplit(url).path for url in seen["requests"] if url.startswith("http")}
    assert paths <= {"/", "/live.js", "/live.css", "/frame.jpg", "/status.json"}
    own = f"http://127.0.0.1:{server.server_port}/"
    assert all(url.startswith((own, "blob:", "data:")) for url in seen["requests"])
    assert len(set(seen["numbers"])) == 4 and seen["numbers"] == sorted(seen["numbers"])
    assert seen["size"] == [48, 64, 48, 64]
    assert seen["classes"] == list(NAMES)
    # White is red first, as all its channels are equal; black is dark.
    assert seen["shares"][0].endswith("%") and seen["shares"][3].endswith("%")
    assert seen["shares"][1:3] == ["", ""]
    assert seen["paused"][0] == seen["paused"][1] < seen["resumed"]
    everything, nothing, red_alone, again = seen["painted"]
    assert (everything, nothing, again) == (16, 0, 16)
    assert red_alone == bin(seen["paused"][0]).count("1")
    assert seen["opacity"] == "0.2" and seen["snapshot"].startswith("snapshot-20")
    for name in ("phone", "phone-dark"):
        assert seen[name][0] <= seen[name][1]  # nothing to scroll sideways
    assert seen["phone"][2] == "rgb(244, 245, 247)"
    assert seen["phone-dark"][2] == "rgb(18, 20, 23)"
