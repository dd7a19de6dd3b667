"""The page that runs a model in the browser: what is written, and that it works in one."""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tflite_models import Graph, Op, T, model_bytes
from tflite_tiny import NAMES, PALETTE, network, tiny_model

from keras_bisenet.cli import main
from keras_bisenet.errors import UserError
from keras_bisenet.lite.uint8_io import with_uint8_io
from keras_bisenet.pretrained import pretrained_model
from keras_bisenet.runtime.golden import golden_path, golden_pictures, write_with_golden
from keras_bisenet.runtime.interpreter import runtime_name
from keras_bisenet.web import litert_js, site
from keras_bisenet.web.litert_js import FILES, VERSION, copy_litert_js
from keras_bisenet.web.site import PAGE, write_site

ROOT = Path(__file__).parents[2]
WEB_DEMO = ROOT / "web_demo"
THIRD_PARTY = Path(__file__).parent / "third_party"
SIZE = (32, 48)


@pytest.fixture(scope="module")
def litert(tmp_path_factory) -> Path:
    """A folder as npm's, whose files are stand-ins: the page is not run here."""
    folder = tmp_path_factory.mktemp("npm") / "@litertjs"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"this is {name}")
    (folder / "core/package.json").write_text('{"version": "2.5.3"}')
    (folder / "core/wasm/other.wasm").write_text("what no page needs")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def error_of(*arguments) -> str:
    with pytest.raises(UserError) as caught:
        write_site(*arguments)
    return str(caught.value)


def test_a_site_has_all_that_the_page_needs(tmp_path, litert):
    model, folder = tmp_path / "mine.tflite", tmp_path / "new" / "site"
    write_with_golden(model, tiny_model(SIZE))
    size = write_site(model, folder, str(litert))
    files = content(folder)
    assert size == sum(map(len, files.values()))
    assert set(files) == {
        *content(PAGE),
        *("site.json", "model.tflite", "golden/inputs.bin", "golden/answers.bin"),
        *(f"runtime/{name}" for name in FILES),
    }
    assert all(files[name] == data for name, data in content(PAGE).items())
    assert files["model.tflite"] == with_uint8_io(model)
    described = json.loads(files["site.json"])
    assert described["model"] == {
        "file": "model.tflite",
        "bytes": len(files["model.tflite"]),
        "sha256": hashlib.sha256(files["model.tflite"]).hexdigest(),
        "facts": {
            "name": "mine.tflite",
            "details": ["tiny, int8", "trained on colours", "mIoU 50.0% on its val split"],
        },
        "input": {"shape": [1, *SIZE, 3], "dtype": "uint8", "table": None},
        "output": {
            "kind": "logits",
            "shape": [1, *SIZE, 4],
            "dtype": "uint8",
            "threshold": None,
        },
        "classes": [{"name": n, "color": list(c)} for n, c in zip(NAMES, PALETTE)],
    }
    assert described["runtime"] == {"address": "runtime/", "version": "2.5.3"}
    assert described["links"] == [["Licences", "NOTICE.txt"]]
    samples = [sample["file"] for sample in described["samples"]]
    assert samples == [f"samples/street_{number}.jpg" for number in (1, 2, 3)]
    # What is kept for use offline: all but the model, its answers and the runtime.
    assert set(described["files"]) - {""} == {
        *content(PAGE),
        *("site.json", "runtime/core/wasm/litert_wasm_threaded_internal.js"),
    }
    # The golden file's answers, for uint8.
    with np.load(golden_path(model)) as golden:
        for name, array in (("inputs", "inputs"), ("answers", "fast")):
            raw = np.frombuffer(gzip.decompress(files[f"golden/{name}.bin"]), np.uint8)
            np.testing.assert_array_equal(raw, golden[array].reshape(-1).astype(int) + 128)
        assert described["golden"] == {
            "inputs": "golden/inputs.bin",
            "answers": "golden/answers.bin",
            "count": 3,
            "runtime": str(golden["runtime"]),
            "machine": str(golden["machine"]),
        }


def test_the_same_model_gives_the_same_bytes_and_replaces_a_page(tmp_path, litert):
    (tmp_path / "one.tflite").write_bytes(tiny_model((16, 16)))
    model = tmp_path / "two.tflite"
    model.write_bytes(tiny_model(SIZE))
    write_site(tmp_path / "one.tflite", tmp_path / "a", str(litert))
    (tmp_path / "a" / "stale.js").write_text("of another version")
    described = json.loads((tmp_path / "a" / "site.json").read_text())
    described["files"].append("stale.js")
    (tmp_path / "a" / "site.json").write_text(json.dumps(described))
    (tmp_path / "b").mkdir()
    write_site(model, tmp_path / "a", str(litert))
    write_site(model, tmp_path / "b", str(litert))
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a",
        "b",
        "one.tflite",
        "two.tflite",
    ]


def test_golden_answers_are_computed_where_there_are_none(tmp_path, litert):
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_model(SIZE))
    write_site(model, tmp_path / "site", str(litert))
    files = content(tmp_path / "site")
    inputs = np.frombuffer(gzip.decompress(files["golden/inputs.bin"]), np.uint8)
    pictures = np.stack(golden_pictures(*SIZE))
    np.testing.assert_array_equal(inputs, pictures.reshape(-1))
    answers = np.frombuffer(gzip.decompress(files["golden/answers.bin"]), np.uint8)
    answers = answers.reshape(3, *SIZE, 4)
    np.testing.assert_array_equal(answers[..., :3], pictures)  # the network hands colours on
    assert json.loads(files["site.json"])["golden"]["runtime"] == runtime_name()


@pytest.mark.parametrize(
    ("precision", "kind", "dtypes"),
    [
        ("float32", "logits", ["float32", "float32"]),
        ("uint8", "logits", ["uint8", "uint8"]),
        ("int8", "class_ids", ["uint8", "int32"]),
    ],
)
def test_other_kinds_of_models(tmp_path, litert, precision, kind, dtypes):
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_model(SIZE, precision=precision, kind=kind))
    described = described_by(model, tmp_path, litert)
    assert [described["input"]["dtype"], described["output"]["dtype"]] == dtypes
    assert (described["output"]["kind"], described["output"]["threshold"]) == (kind, None)
    if precision == "float32":
        expected = np.repeat(np.arange(256) / 255, 3)
        np.testing.assert_allclose(described["input"]["table"], expected, rtol=1e-6)
    else:
        assert described["input"]["table"] is None


def test_models_of_other_programs(tmp_path, litert):
    described = described_by(THIRD_PARTY / "norm_meta.tflite", tmp_path, litert)
    assert described["facts"] == {"name": "norm_meta.tflite", "details": []}
    names = [entry["name"] for entry in described["classes"]]
    assert names == ["sky", "road", "tree", "car", "person"]  # of the file's own metadata
    expected = np.repeat(np.arange(256) / 127.5 - 1, 3)
    np.testing.assert_allclose(described["input"]["table"], expected, atol=1e-6)

    described = described_by(THIRD_PARTY / "sigmoid.tflite", tmp_path, litert)
    assert (described["output"]["shape"][3], described["output"]["threshold"]) == (1, 0.5)
    assert [entry["name"] for entry in described["classes"]] == ["background", "foreground"]
    answers = gzip.decompress((tmp_path / "site" / "golden" / "answers.bin").read_bytes())
    height, width = described["output"]["shape"][1:3]
    answers = np.frombuffer(answers, np.float32).reshape(3, height, width, 2)
    assert np.unique(answers[..., 0]).tolist() == [0.5]


def described_by(model: Path, folder: Path, litert: Path) -> dict:
    write_site(model, folder / "site", str(litert))
    return json.loads((folder / "site" / "site.json").read_text())["model"]


def test_the_packaged_model_is_the_default_and_has_its_card(tmp_path, litert):
    folder = tmp_path / "site"
    command = ["web", "-o", str(folder), "--runtime", str(litert)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    size = sum(map(len, content(folder).values())) / 1e6
    assert result.output.splitlines() == [
        f"{folder}: {size:.1f} MB",
        f"see it: python -m http.server -d {folder}, then http://localhost:8000",
    ]
    described = json.loads((folder / "site.json").read_text())
    assert described["model"]["facts"]["name"] == pretrained_model().name
    assert described["links"][0] == ["Model card", "MODEL_CARD.md"]
    assert (folder / "MODEL_CARD.md").read_text().startswith("# Model card")
    assert described["golden"]["runtime"] == "ai-edge-litert 2.3.0"  # from its golden file


def test_a_runtime_on_the_web_stays_there(tmp_path):
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_model(SIZE))
    write_site(model, tmp_path / "site", "https://example.org/litert")
    described = json.loads((tmp_path / "site" / "site.json").read_text())
    assert described["runtime"] == {"address": "https://example.org/litert/", "version": ""}
    assert not (tmp_path / "site" / "runtime").exists()
    assert not [name for name in described["files"] if name.startswith("runtime")]


def test_what_others_keep_beside_a_page_stays(tmp_path, litert, monkeypatch):
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_model(SIZE))
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path / "site")
    write_site(model, ".", str(litert))
    before = content(tmp_path / "site")
    (tmp_path / "site" / ".git").mkdir()
    (tmp_path / "site" / ".git" / "HEAD").write_text("ref: refs/heads/gh-pages")
    (tmp_path / "site" / "CNAME").write_text("example.org")
    write_site(model, tmp_path / "site", str(litert))
    kept = {".git/HEAD": b"ref: refs/heads/gh-pages", "CNAME": b"example.org"}
    assert content(tmp_path / "site") == {**before, **kept}
    assert os.getcwd() == str(tmp_path / "site")  # it is the same folder, and not another there
    write_site(model, ".", "https://example.org/litert")
    files = content(tmp_path / "site")
    assert "CNAME" in files and not any(name.startswith("runtime") for name in files)


def test_a_page_that_cannot_be_replaced_stays(tmp_path, litert, monkeypatch):
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_model(SIZE))
    write_site(model, tmp_path / "site", str(litert))
    before = content(tmp_path / "site")
    rename = Path.rename

    def failing(path, target):
        if path.parent.name == "new" and path.name == "site.json":
            raise OSError("no space")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no space"):
        write_site(model, tmp_path / "site", str(litert))
    assert content(tmp_path / "site") == before


def test_make_web_fills_the_folder_that_is_the_default(tmp_path, litert, monkeypatch):
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_model(SIZE))
    monkeypatch.setattr(litert_js, "VENDORED", tmp_path / "vendor")
    assert error_of(model, tmp_path / "site", None) == (
        "LiteRT.js, which runs the model in the page, is not here: npm install "
        f"@litertjs/core@{VERSION}, then add --runtime node_modules/@litertjs"
    )
    assert not (tmp_path / "site").exists()
    copy_litert_js(litert, tmp_path / "vendor")
    assert set(content(tmp_path / "vendor")) == set(FILES)
    write_site(model, tmp_path / "site", None)
    assert content(tmp_path / "site" / "runtime") == content(tmp_path / "vendor")


def test_what_cannot_be_written_is_said_before_anything_is(tmp_path, litert, monkeypatch):
    model, folder = tmp_path / "model.tflite", tmp_path / "site"
    model.write_bytes(tiny_model(SIZE))
    other = tmp_path / "pictures"
    other.mkdir()
    (other / "holiday.jpg").write_bytes(b"a picture")
    npm = str(litert)
    assert "pictures holds other files: choose a folder" in error_of(model, other, npm)
    assert "model.tflite is a file: choose a folder" in error_of(model, model, npm)
    missing = error_of(model, folder, str(tmp_path))
    assert "core/package.json: no such file, so LiteRT.js is not in" in missing

    def refused(content: bytes) -> str:
        path = tmp_path / "refused.tflite"
        path.write_bytes(content)
        return error_of(path, folder, npm)

    assert "not a TFLite model" in refused(b"no model at all")
    two = refused(network(SIZE, kind="class_ids", both_outputs=True))
    assert "refused.tflite: its inputs number 1 and its outputs 2" in two
    assert "LiteRT.js takes no int16: convert the model with --precision" in refused(
        classifier("INT16")
    )
    assert "it has custom operators, which browsers do not" in refused(classifier("INT8", True))
    opened = error_of(THIRD_PARTY / "size_none.tflite", folder, npm)
    assert "its input has open sides, which the page cannot fill" in opened
    monkeypatch.setattr(site, "MAX_MODEL_SIZE", 1000)
    assert "are too many for a browser" in error_of(model, folder, npm)
    assert not folder.exists() and content(other) == {"holiday.jpg": b"a picture"}


def classifier(dtype: str, custom: bool = False) -> bytes:
    tensors = [T("image", (1, 4, 4, 3), dtype, None, (1.0,), (0,)) for _ in range(2)]
    operator = Op("edgetpu-custom-op" if custom else "LOGISTIC", (0,), (1,), custom=custom)
    return model_bytes(Graph(tensors, [operator], (0,), (1,)))


def test_an_interrupted_command_leaves_the_old_page(tmp_path, litert, monkeypatch):
    model, folder = tmp_path / "model.tflite", tmp_path / "site"
    model.write_bytes(tiny_model(SIZE))
    write_site(model, folder, str(litert))
    before = content(folder)
    monkeypatch.setattr(site, "copy_litert_js", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_site(model, folder, str(litert))
    assert content(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.tflite", "site"]


def interrupted(*_):
    raise KeyboardInterrupt


def test_the_page_names_what_is_there():
    names = {path.name for path in PAGE.iterdir()}
    named = set()
    for path in PAGE.iterdir():
        if path.suffix in (".js", ".html"):
            text = path.read_text(encoding="utf-8")
            named |= set(re.findall(r'"(?:\./)?([\w-]+\.(?:js|css|svg|html))"', text))
    assert named - {"site.json"} <= names
    assert names - named == {
        *("samples", "LICENSE.txt", "NOTICE.txt"),  # linked to by site.json
        "index.html",
    }
    ids = set(re.findall(r'\bid="([\w-]+)"', (PAGE / "index.html").read_text(encoding="utf-8")))
    script = (PAGE / "app.js").read_text(encoding="utf-8")
    used = set(re.findall(r'element\.([\w]+)\b|element\["([\w-]+)"\]', script))
    assert {one or other for one, other in used} <= ids


def test_both_sides_have_the_same_numbers():
    script = (PAGE / "segmenter.js").read_text(encoding="utf-8")
    megabytes = re.search(r"MAX_MODEL_BYTES = (\d+) \* 2 \*\* 20", script)
    assert int(megabytes[1]) << 20 == site.MAX_MODEL_SIZE
    packages = json.loads((WEB_DEMO / "package.json").read_text())["devDependencies"]
    assert packages["@litertjs/core"] == VERSION
    lock = (WEB_DEMO / "package-lock.json").read_text()
    assert json.loads(lock)["packages"]["node_modules/@litertjs/core"]["version"] == VERSION
    assert "http" not in lock  # it names no registry: whichever npm is set to is taken
    assert (PAGE / "LICENSE.txt").read_bytes() == (ROOT / "LICENSE").read_bytes()


def node(*tests, slow=False) -> str:
    """Runs the tests of web_demo/; returns what Node.js reports."""
    if shutil.which("node") is None:
        pytest.skip("no Node.js here")
    version = subprocess.run(["node", "--version"], stdout=subprocess.PIPE, text=True).stdout
    if int(version.strip("v").split(".")[0]) < 20:
        pytest.skip(f"Node.js {version.strip()} is too old: 20 or later")
    done = subprocess.run(
        ["node", "--test", *(f"test/{name}.test.js" for name in tests)],
        cwd=WEB_DEMO,
        env={**os.environ, "PYTHON": sys.executable, "SLOW": "1" if slow else ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_javascript_reproduces_the_conformance_vectors():
    assert re.search("^# pass 36$", node("conformance", "golden"), re.MULTILINE)


@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_page_works_in_chromium(slow):
    if os.environ.get("KERAS_BISENET_RUNTIME"):
        pytest.skip("once is enough: it runs with the default runtime")
    if not (WEB_DEMO / "node_modules" / "playwright-core").is_dir():
        pytest.skip("its packages are not here: make web")
    report = node("page", slow=slow)
    reason = re.search("^# Subtest: the page\nok 1 - the page # SKIP (.*)", report, re.MULTILINE)
    if reason:
        pytest.skip(reason[1])
    assert int(re.search("^# pass ([0-9]+)$", report, re.MULTILINE)[1]) >= 13, report
