"""uint8 in place of int8 at both ends of a file: the same answers plus 128, in any runtime."""

import hashlib
import io
import zipfile

import flatbuffers
import numpy as np
import pytest
import tflite
from click.testing import CliRunner
from tflite_models import Graph, Op, T, model_bytes, segmenter
from tflite_tiny import network, tiny_model

from keras_bisenet.cli import main
from keras_bisenet.errors import UserError
from keras_bisenet.lite.flatbuffer import Written, flatbuffer
from keras_bisenet.lite.metadata import add_metadata
from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.lite.record import read_record
from keras_bisenet.lite.standard_metadata import read_standard_metadata
from keras_bisenet.lite.uint8_io import with_uint8_io
from keras_bisenet.pretrained import pretrained_model
from keras_bisenet.runtime.golden import as_uint8, golden_path, make_golden, write_with_golden
from keras_bisenet.runtime.interpreter import open_interpreter, runtime_name

SIZE = (32, 48)


def answer(model: bytes, values: np.ndarray, reference: bool) -> np.ndarray:
    interpreter = open_interpreter(model, reference=reference)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize("reference", [False, True], ids=["fast", "reference"])
@pytest.mark.parametrize(
    "model",
    [
        segmenter("INT8", *SIZE),
        network(SIZE),
        network(SIZE, kind="class_ids"),
    ],
    ids=["convolutions", "identity", "class ids"],
)
def test_it_answers_the_same_bytes_plus_128(model, reference):
    values = np.random.default_rng(1).integers(-128, 128, (1, *SIZE, 3)).astype(np.int8)
    expected = answer(model, values, reference)
    found = answer(with_uint8_io(model), values.view(np.uint8) ^ 0x80, reference)
    if expected.dtype == np.int8:
        assert found.dtype == np.uint8
        expected = expected.astype(int) + 128
        assert len(np.unique(expected)) > 70
    else:  # class ids stay what they are
        assert found.dtype == expected.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_the_packaged_model_keeps_its_answers():
    with np.load(golden_path(pretrained_model())) as golden:
        values, expected, runtime = golden["inputs"][:1], golden["fast"][:1], golden["runtime"]
    old = answer(pretrained_model().read_bytes(), values, False)
    new = answer(with_uint8_io(pretrained_model()), as_uint8(values), False)
    np.testing.assert_array_equal(new, old.astype(int) + 128)
    if str(runtime) == runtime_name():  # another's fast kernels round in their own way
        np.testing.assert_array_equal(old, expected)


def test_the_network_between_the_ends_is_the_same():
    old = read_model_file(segmenter("INT8", *SIZE))
    new = read_model_file(with_uint8_io(old))
    assert [op.name for op in new.main.operators] == ["QUANTIZE", "CONV_2D", "CONV_2D", "QUANTIZE"]
    assert new.main.tensors[: len(old.main.tensors)] == tuple(
        # Constants lie elsewhere in the file, and hold the same bytes.
        old_tensor if not old_tensor.is_constant else new_tensor
        for old_tensor, new_tensor in zip(old.main.tensors, new.main.tensors)
    )
    for old_tensor, new_tensor in zip(old.main.tensors, new.main.tensors):
        if old_tensor.is_constant:
            assert new_tensor.data_offset % 16 == 0
            np.testing.assert_array_equal(old.array(old_tensor), new.array(new_tensor))
    image, logits = new.inputs[0], new.outputs[0]
    assert (image.name, image.shape, image.dtype) == ("image_uint8", (1, *SIZE, 3), "UINT8")
    assert (image.scales, image.zero_points) == (old.inputs[0].scales, (0,))
    assert (logits.name, logits.dtype, logits.zero_points) == ("logits_uint8", "UINT8", (0,))
    assert (new.description, new.version) == ("by hand", 3)


def test_the_record_is_kept_and_speaks_of_the_new_ends():
    model = tiny_model(SIZE)
    record = read_record(model)
    described = add_metadata(model, record)
    turned = with_uint8_io(described)
    assert read_record(turned) == record
    before, after = read_standard_metadata(described), read_standard_metadata(turned)
    assert (before["inputs"][0]["min"], before["inputs"][0]["max"]) == ([-128], [127])
    assert (after["inputs"][0]["min"], after["inputs"][0]["max"]) == ([0], [255])
    assert after["outputs"] == before["outputs"]
    # Metadata of the old file are not carried inside of the new one, and can be replaced again.
    assert with_uint8_io(model) == turned
    assert add_metadata(turned, record) == turned
    with zipfile.ZipFile(io.BytesIO(turned)) as files:
        assert files.namelist() == ["labels.txt", "keras_bisenet.json"]


def test_what_other_programs_packed_is_kept():
    packed = io.BytesIO(network(SIZE))
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as files:
        files.writestr("labels.txt", "a\nb\n")
        files.writestr("more/notes.txt", "of another program")
    with zipfile.ZipFile(io.BytesIO(with_uint8_io(packed.getvalue()))) as files:
        assert files.read("labels.txt") == b"a\nb\n"
        assert files.read("more/notes.txt") == b"of another program"
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as files:
        files.writestr("zeros", bytes(1 << 25))
    with pytest.raises(UserError, match="packed behind it are too large to be copied"):
        with_uint8_io(packed.getvalue())


def test_signatures_name_the_new_ends():
    turned = tflite.Model.GetRootAs(with_uint8_io(with_signature(network(SIZE))), 0)
    graph = turned.Subgraphs(0)
    signature = turned.SignatureDefs(0)
    assert signature.SignatureKey() == b"serving_default"
    assert (signature.Inputs(0).Name(), signature.Outputs(0).Name()) == (b"image", b"scores")
    assert signature.Inputs(0).TensorIndex() == graph.Inputs(0) == 4
    assert signature.Outputs(0).TensorIndex() == graph.Outputs(0) == 5
    assert turned.SignatureDefsLength() == 1


def with_signature(model: bytes) -> bytes:
    """A tiny network with a signature, as TensorFlow's converter writes one."""
    root = tflite.Model.GetRootAs(model, 0)
    graph = root.Subgraphs(0)
    builder = flatbuffers.Builder(len(model) + 1024)
    model = model[:4] + bytes(4) + model[8:] + bytes(-len(model) % 16)
    builder.Prep(16, 0)
    builder.CreateByteVector(model)

    def kept(slot):
        return Written(len(model) - root._tab.Indirect(root._tab.Pos + root._tab.Offset(slot)))

    def ends(name, index):
        return [{0: name, 1: np.uint32(index)}]

    signature = {0: ends("image", graph.Inputs(0)), 1: ends("scores", graph.Outputs(0))}
    fields = {
        0: np.uint32(3),
        1: kept(6),
        2: kept(8),
        4: kept(12),
        7: [{**signature, 2: "serving_default"}],
    }
    return flatbuffer(fields, b"TFL3", builder)


def test_what_cannot_be_edited_is_said():
    for model, reason in [
        (network(SIZE, precision="uint8"), "neither its input nor its output is int8"),
        (network(SIZE, precision="float32"), "neither its input nor its output is int8"),
        (b"nothing at all", "not a TFLite model"),
        (without_scale(), "'image' is int8 without a scale: convert it again with --io uint8"),
        (large(), "a model of more than 2 GB cannot be edited"),
    ]:
        with pytest.raises(UserError, match=reason):
            with_uint8_io(model)


def without_scale() -> bytes:
    tensors = [T("image", (1, 4, 4, 3), "INT8"), T("out", (1, 4, 4, 3), "INT8")]
    return model_bytes(Graph(tensors, [Op("ADD", (0, 0), (1,))], (0,), (1,)))


def large() -> bytes:
    """A model whose one weight lies behind the flatbuffer, as those of large models do."""
    weight = T("weight", (16,), "INT8", np.zeros(16, np.int8), (1.0,), (0,))
    ends = [T(name, (16,), "INT8", None, (1.0,), (0,)) for name in ("image", "out")]
    graph = Graph([*ends, weight], [Op("ADD", (0, 2), (1,))], (0,), (1,))
    size = len(model_bytes(graph, external=[(1 << 10, 16)]))
    return model_bytes(graph, external=[(size, 16)]) + bytes(16)


def test_convert_turns_a_file_and_its_golden_answers(tmp_path):
    old, new = tmp_path / "old.tflite", tmp_path / "new.tflite"
    write_with_golden(old, tiny_model(SIZE))
    result = CliRunner().invoke(main, ["convert", str(old), "--io", "uint8", "-o", str(new)])
    assert result.exit_code == 0, result.output
    assert f"golden answers: {golden_path(new)}" in result.output
    assert new.read_bytes() == with_uint8_io(old)
    with np.load(golden_path(old)) as before, np.load(golden_path(new)) as after:
        assert sorted(before.files) == sorted(after.files)
        assert str(after["model_sha256"]) == hashlib.sha256(new.read_bytes()).hexdigest()
        for name in ("inputs", "reference", "fast"):
            assert after[name].dtype == np.uint8
            np.testing.assert_array_equal(after[name], before[name].astype(int) + 128)
        for name in ("format", "exact", "output_kind", "runtime", "machine"):
            assert after[name] == before[name]
        # What was carried over is what the new file answers.
        made = make_golden(new.read_bytes())
        for name, array in made.items():
            np.testing.assert_array_equal(after[name], array)


def test_convert_computes_golden_answers_where_there_are_none(tmp_path):
    old, new = tmp_path / "old.tflite", tmp_path / "new.tflite"
    write_with_golden(old, tiny_model((16, 16)))
    old.write_bytes(tiny_model(SIZE))  # the golden file is of another model now
    result = CliRunner().invoke(main, ["convert", str(old), "--io", "uint8", "-o", str(new)])
    assert result.exit_code == 0, result.output
    with np.load(golden_path(new)) as arrays:
        assert arrays["inputs"].shape == (3, *SIZE, 3)
        assert str(arrays["model_sha256"]) == hashlib.sha256(new.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ((), 2, "is converted already: give it --io uint8 alone"),
        (("--io", "uint8", "--size", "32x32"), 2, "is converted already"),
        (("--io", "uint8"), 1, "neither its input nor its output is int8"),
    ],
)
def test_convert_says_what_it_does_not_do(tmp_path, options, code, reason):
    old, new = tmp_path / "old.tflite", tmp_path / "new.tflite"
    old.write_bytes(tiny_model(SIZE, precision="uint8"))
    result = CliRunner().invoke(main, ["convert", str(old), *options, "-o", str(new)])
    assert (result.exit_code, new.exists()) == (code, False)
    assert reason in result.output and result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1
    golden_path(old).write_bytes(b"PK damaged")
    old.write_bytes(tiny_model(SIZE))
    result = CliRunner().invoke(main, ["convert", str(old), "--io", "uint8", "-o", str(new)])
    assert (result.exit_code, new.exists()) == (1, False)
    assert "damaged golden file" in result.output
