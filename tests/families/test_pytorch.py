"""Weights from PyTorch and PaddlePaddle: the same answers, every tensor accounted for, and files
that are not ours.

`golden/coincheung_logits.npz` holds what CoinCheung's own network answered in PyTorch 2.15 to
`picture()` with the weights `random_weights()`, at every eighth pixel;
`golden/torch_tensors.pth` is a file of PyTorch's own. `golden/paddleseg_logits.npz` is the same of
PaddleSeg's network in PaddlePaddle 3.3.1, and `golden/paddle_*.pdparams` are files of its own.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from families.base import randomize
from families.torch_files import random_weights, state_dict_of, write_pth

from keras_bisenet.cli import main
from keras_bisenet.errors import UserError
from keras_bisenet.models import build_model
from keras_bisenet.models.pytorch import LAYOUTS, colours_of, model_from
from keras_bisenet.models.torch_file import LEGACY, read_tensors
from keras_bisenet.training.run import Run

GOLDEN = Path(__file__).parents[1] / "golden"


def picture():
    return np.random.RandomState(2).randint(0, 256, (64, 128, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "coincheung_logits.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def state_dict(golden):
    """CoinCheung's, with its four heads for training, for 19 classes."""
    shapes = [tuple(map(int, filter(None, text.split(",")))) for text in golden["shapes"]]
    return random_weights(dict(zip(golden["names"].tolist(), shapes)))


def import_(path, run, *options):
    arguments = ["import", path, "--run", run, "--dataset", "cityscapes", *options]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_imported_network_answers_as_in_pytorch(tmp_path, state_dict, golden):
    path = tmp_path / "city.pth"
    write_pth(path, {f"module.{name}": tensor for name, tensor in state_dict.items()})
    result = import_(path, tmp_path / "run", "--layout", "coincheung", "--size", "64x128")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-2:] == [
        "left out, as for training alone: aux2, aux3, aux4, aux5_4 (56 tensors)",
        f"327 tensors, 19 classes: {tmp_path / 'run' / 'model.keras'}",
    ]
    run = Run.open(tmp_path / "run")
    assert run.config.size == (64, 128)
    assert run.config.model_options == {
        "padding": "symmetric",
        "extra_relus": True,
        "image_norm": True,
        "bga_upsampling": "nearest",
        "head_width": 1024,
    }
    assert run.label_map.names[:2] == ("road", "sidewalk")
    model = keras.saving.load_model(run.model_file)
    logits = np.asarray(model(picture()[None].astype(np.float32) / 255))[0, 4::8, 4::8]
    expected = golden["logits"]
    assert expected.std() > 5
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-4 * np.abs(expected).max())
    apart = np.linalg.norm(logits - expected) / np.linalg.norm(expected)
    assert apart < 1e-4


def test_the_imported_network_answers_as_in_paddlepaddle(tmp_path):
    with np.load(GOLDEN / "paddleseg_logits.npz") as file:
        names, shapes, expected = (file[name] for name in ("names", "shapes", "logits"))
    shapes = [tuple(map(int, filter(None, text.split(",")))) for text in shapes]
    path = tmp_path / "model.pdparams"
    tensors = random_weights(dict(zip(names.tolist(), shapes)))
    path.write_bytes(pickle.dumps({**tensors, "StructuredToParameterName@@": {"a": "b"}}, 4))
    result = import_(path, tmp_path / "run", "--layout", "paddleseg", "--size", "64x128")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-2:] == [
        "left out, as for training alone: aux_head1, aux_head2, aux_head3, aux_head4 (32 tensors)",
        f"324 tensors, 19 classes: {tmp_path / 'run' / 'model.keras'}",
    ]
    model = keras.saving.load_model(Run.open(tmp_path / "run").model_file)
    logits = np.asarray(model(picture()[None].astype(np.float32) / 255))[0, 4::8, 4::8]
    assert expected.std() > 5
    apart = np.linalg.norm(logits - expected) / np.linalg.norm(expected)
    assert apart < 1e-4


def test_every_tensor_of_mmsegmentation_has_its_place():
    layout = LAYOUTS["mmseg"]
    tensors = mmseg_state_dict()
    colours = colours_of("mmseg", "ade20k")
    model, options, left_out = model_from(tensors, "mmseg", *colours)
    assert options == {**layout.options, "head_width": 1024}
    assert left_out == ["auxiliary_head.0.conv_seg.bias"]
    depthwise = model.get_layer("semantic_s4_2_expand").get_weights()[0]
    theirs = tensors["backbone.semantic.stage3.1.dwconv.0.conv.weight"]  # 64 channels, 6 of each
    np.testing.assert_array_equal(depthwise[:, :, 5, 4], theirs[5 * 6 + 4, 0])
    scale, offset = model.get_layer("image_norm").get_weights()
    np.testing.assert_allclose(0.5 * scale.ravel() + offset, (127.5 - MEAN) / STD, rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_state_dict_of_ours_comes_back(layout):
    known, colours = LAYOUTS[layout], ((0.1, 0.2, 0.3), (1, 2, 4))
    model = build_model("bisenetv2", 3, **known.options, head_width=8)
    model = randomize(model)
    again, options, left_out = model_from(state_dict_of(model, known), layout, *colours)
    assert options["head_width"] == 8 and not left_out
    for ours, theirs in zip(model.layers, again.layers):
        if ours.name != "image_norm":
            for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7, err_msg=ours.name)


MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


def mmseg_state_dict():
    """Shapes from our network's, names as mmsegmentation has them."""
    layout = LAYOUTS["mmseg"]
    model = build_model("bisenetv2", 150, **layout.options, head_width=1024)
    shapes = {name: value.shape for name, value in state_dict_of(model, layout).items()}
    return random_weights({**shapes, "auxiliary_head.0.conv_seg.bias": (150,)})


def test_pytorchs_own_file():
    found = read_tensors(GOLDEN / "torch_tensors.pth")
    expected = {
        "half": np.arange(6).reshape(2, 3) / 8,
        "bfloat": [0, 0.333984375, 0.66796875, 1],  # of 8 bits
        "double": np.linspace(0, 1, 5),
        "turned": np.arange(12).reshape(3, 4).T,
        "part": np.arange(5, 11).reshape(2, 3),
        "scalar": 7,
        "flag": [True, False],
        "parameter": np.ones((2, 2)),
        "empty": np.zeros((0, 3)),
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_paddlepaddles_own_file():
    found = read_tensors(GOLDEN / "paddle_arrays.pdparams")
    expected = {
        "half": np.arange(6).reshape(2, 3) / 8,
        "double": np.linspace(0, 1, 5),
        "turned": np.arange(12).reshape(3, 4).T,
        "flag": [True, False],
        "scalar": 7,
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    # Protocol 2 has no bytes: text stands for them.
    (double,) = read_tensors(GOLDEN / "paddle_protocol2.pdparams").values()
    np.testing.assert_array_equal(double, expected["double"])


def test_half_precision(tmp_path):
    path = tmp_path / "half.pth"
    write_pth(path, {"model": {"module.x": np.float16([1, 2.5])}, "epoch": 3})
    np.testing.assert_array_equal(read_tensors(path)["x"], [1, 2.5])


# === Files that are none ===


class Hostile:
    """Makes a file when it is unpickled by pickle.load."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def refused(path) -> str:
    with pytest.raises(UserError) as caught:
        read_tensors(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)[len(f"{path}: ") :]


def test_a_pickle_with_code_runs_nothing(tmp_path):
    path, made = tmp_path / "hostile.pth", tmp_path / "made"
    write_pth(path, {"x": np.zeros(3, np.float32), "y": Hostile(made)})
    result = import_(path, tmp_path / "run", "--layout", "coincheung")
    assert (result.exit_code, result.output) == (
        1,
        f"Error: {path}: these are no weights: its pickle asks for posix.system, which no weights "
        "need\n",
    )
    assert not made.exists() and not (tmp_path / "run").exists()
    pickle.loads(pickle.dumps(Hostile(made)))  # as it would have
    assert made.exists()


def test_a_pickle_of_its_own_with_code_runs_nothing(tmp_path):
    path, made = tmp_path / "hostile.pdparams", tmp_path / "made"
    content = {"x": np.zeros(3, np.float32), "y": Hostile(made)}
    path.write_bytes(pickle.dumps(content, 4))
    assert refused(path) == (
        "these are no weights: its pickle asks for posix.system, which no weights need"
    )
    assert not made.exists()
    del content["y"]
    path.write_bytes(pickle.dumps(content, 4))
    assert read_tensors(path)["x"].shape == (3,)
    path.write_bytes(pickle.dumps(content, 4)[:-20])
    assert refused(path).startswith("damaged (")


def test_a_pickle_cannot_ask_for_all_memory(tmp_path):
    path = tmp_path / "large.pdparams"
    path.write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")  # an empty dict, at place 2**31 - 1
    assert refused(path) == "these are no weights: its pickle asks for more memory than it can need"


def test_bad_files_are_one_line_and_no_run(tmp_path, state_dict):
    write_pth(tmp_path / "whole.pth", state_dict)
    (tmp_path / "torn.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:-1000])
    short = {name: value for name, value in state_dict.items() if name != "head.conv.bn.bias"}
    write_pth(tmp_path / "short.pth", short)
    (tmp_path / "text.pth").write_text("no weights")
    messages = {
        "torn.pth": "no weights of PyTorch 1.6 or later, or not all of them",
        "short.pth": "head.conv.bn.bias is missing: these are no weights of --layout coincheung",
        "text.pth": "no weights of PyTorch 1.6 or later, or not all of them",
        "none.pth": "there is no such file",
    }
    for name, message in messages.items():
        path = tmp_path / name
        result = import_(path, tmp_path / "run", "--layout", "coincheung")
        assert result.exit_code == 1 and not (tmp_path / "run").exists()
        (line,) = result.output.splitlines()
        assert line.startswith(f"Error: {path}: {message}")


@pytest.mark.parametrize("function", ["builtins eval", "builtins getattr", "torch load"])
def test_no_other_name_is_looked_up(tmp_path, function):
    path = tmp_path / "odd.pth"
    module, name = function.split()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", f"c{module}\n{name}\n(S'1'\ntR.")
    assert refused(path) == (
        f"these are no weights: its pickle asks for {module}.{name}, which no weights need"
    )


def test_damaged_files(tmp_path):
    whole, path = tmp_path / "whole.pth", tmp_path / "damaged.pth"
    write_pth(whole, {"x": np.arange(1000, dtype=np.float32)})
    assert read_tensors(whole)["x"][999] == 999
    assert refused(path) == "there is no such file"
    content = whole.read_bytes()
    old_or_torn = "no weights of PyTorch 1.6 or later, or not all of them: save them again with "
    for part in (b"", content[:100], content[:-30], LEGACY):
        path.write_bytes(part)
        assert refused(path).startswith(old_or_torn)
    path.write_bytes(content.replace(b"archive/data/0", b"archive/data/7"))
    assert refused(path) == "these are no weights: it has no archive/data/0"
    write_pth(path, {"x": np.zeros(10**6, np.float32)}, zipfile.ZIP_DEFLATED)
    assert refused(path).startswith("these are no weights: its archive/data.pkl is compressed")
    write_pth(path, {"note": "no tensors"})
    assert refused(path).startswith("no state dict: save it with torch.save(model.state_dict()")


def test_tensors_outside_their_numbers(tmp_path):
    path = tmp_path / "outside.pth"
    write_pth(path, {"x": np.zeros((3, 4), np.float32)})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["archive/data/0"] = members["archive/data/0"][:-4]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert refused(path) == "these are no weights: it holds fewer numbers than it says"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors: tensors.pop("bga.conv.1.running_var"),
            "bga.conv.1.running_var is missing: these are no weights of --layout coincheung",
        ),
        (
            lambda tensors: tensors.update({"extra.weight": np.zeros(3, np.float32)}),
            "1 tensors are not known to --layout coincheung, such as extra.weight: weights of "
            "another network, or of another version of it",
        ),
        (
            lambda tensors: tensors.update(
                {"detail.S1.0.conv.weight": np.zeros((32, 3, 3, 3), np.float32)}
            ),
            "detail.S1.0.conv.weight has the shape (32, 3, 3, 3): weights of another network than "
            "--layout coincheung's BiSeNet V2",
        ),
        (
            lambda tensors: tensors.update({"bga.conv.1.running_var": np.full(128, np.nan)}),
            "bga.conv.1.running_var has values that are no numbers (nan, inf): take weights from "
            "before its training went wrong",
        ),
    ],
)
def test_weights_of_another_network(state_dict, change, message):
    tensors = dict(state_dict)
    change(tensors)
    with pytest.raises(UserError) as caught:
        model_from(tensors, "coincheung", *colours_of("coincheung", "cityscapes"))
    assert str(caught.value) == message


def test_what_is_asked_for_must_fit(tmp_path, state_dict):
    path = tmp_path / "city.pth"
    write_pth(path, state_dict)

    def last_line(*options):
        result = import_(path, tmp_path / "run", *options)
        assert not (tmp_path / "run").exists()
        return result.exit_code, result.output.splitlines()[-1]

    assert last_line("--layout", "coincheung", "--size", "100x100") == (
        2,
        "Error: import: size: height 100 is not a multiple of 32: use 96 or 128",
    )
    for deviation in ("0,0,0", "0.2,0.2,nan"):
        code, line = last_line("--layout", "mmseg", "--mean", "0,0,0", "--std", deviation)
        assert code == 2 and "--std" in line
    assert last_line("--layout", "mmseg") == (
        1,
        f"Error: {path}: decode_head.convs.0.conv.weight is missing: these are no weights of "
        "--layout mmseg",
    )
    assert last_line("--layout", "coincheung", "--dataset", "ade20k") == (
        1,
        f"Error: {path}: the weights tell 19 classes apart, ade20k has 150: choose the data set "
        "that they were trained on",
    )
    assert last_line("--layout", "coincheung", "--dataset", "voc2012")[1].startswith(
        "Error: --layout coincheung knows the colours of cityscapes, cocostuff, ade20k alone: give"
    )
