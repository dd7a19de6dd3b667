"""Golden files: what a model answered where it was made."""

import hashlib

import numpy as np
import pytest
from tflite_tiny import class_of, network, tiny_model

from keras_bisenet.errors import UserError
from keras_bisenet.runtime import golden
from keras_bisenet.runtime.golden import (
    golden_path,
    golden_pictures,
    make_golden,
    write_with_golden,
)
from keras_bisenet.runtime.interpreter import runtime_name

SIZE = (32, 48)


def test_the_pictures_are_the_same_everywhere():
    pictures = golden_pictures(64, 96)
    assert [(p.shape, p.dtype) for p in pictures] == [((64, 96, 3), np.uint8)] * 3
    content = b"".join(picture.tobytes() for picture in pictures)
    assert hashlib.sha256(content).hexdigest() == PICTURES
    for picture in pictures:
        for channel in range(3):
            assert picture[..., channel].min() < 40 and picture[..., channel].max() > 180


PICTURES = "a2e0379303a878b435ac1cdcb7594ec9ebb13ae837e6973a215268745d5dcee2"


@pytest.mark.parametrize("size", [(32, 32), (512, 1024), (1, 1)])
def test_pictures_of_any_size(size):
    for picture in golden_pictures(*size):
        assert picture.shape == (*size, 3)


def test_a_golden_file_lies_beside_its_model_and_needs_numpy_alone(tmp_path):
    model = tiny_model(SIZE)
    path = tmp_path / "new" / "model.tflite"
    file = write_with_golden(path, model)
    assert (file, path.read_bytes()) == (tmp_path / "new" / "model.golden.npz", model)
    assert sorted(p.name for p in file.parent.iterdir()) == ["model.golden.npz", "model.tflite"]
    with np.load(file, allow_pickle=False) as arrays:
        assert int(arrays["format"]) == 1
        assert str(arrays["model_sha256"]) == hashlib.sha256(model).hexdigest()
        assert str(arrays["runtime"]) == runtime_name()
        pictures = np.stack(golden_pictures(*SIZE))
        np.testing.assert_array_equal(arrays["inputs"], pictures.astype(int) - 128)
        assert arrays["inputs"].dtype == arrays["fast"].dtype == np.int8
        assert str(arrays["output_kind"]) == "logits"
        for kernels in ("reference", "fast"):
            np.testing.assert_array_equal(arrays[kernels][..., :3], arrays["inputs"])


@pytest.mark.parametrize(
    ("precision", "kind", "exact"),
    [("uint8", "logits", True), ("int8", "class_ids", True), ("float32", "logits", False)],
)
def test_every_kind_of_model(precision, kind, exact):
    arrays = make_golden(network(SIZE, precision=precision, kind=kind))
    assert (bool(arrays["exact"]), str(arrays["output_kind"])) == (exact, kind)
    assert arrays["inputs"].dtype == precision
    answers = arrays["reference"]
    classes = answers.argmax(axis=-1) if kind == "logits" else answers
    expected = np.stack([class_of(picture) for picture in golden_pictures(*SIZE)])
    np.testing.assert_array_equal(classes, expected)


def test_convert_writes_both(request):
    pytest.importorskip("tensorflow", reason="pip install '.[train]'")
    model = request.getfixturevalue("int8_file")
    with np.load(golden_path(model)) as arrays:
        assert str(arrays["model_sha256"]) == hashlib.sha256(model.read_bytes()).hexdigest()
        assert arrays["exact"] and arrays["inputs"].shape == (3, 64, 96, 3)


@pytest.mark.slow
def test_convert_without(request, tmp_path, command):
    pytest.importorskip("tensorflow", reason="pip install '.[train]'")
    run = request.getfixturevalue("float_run")
    output = command(
        "convert",
        run.path,
        "-o",
        tmp_path / "model.tflite",
        "--no-golden",
        "--precision",
        "float32",
    )
    assert "golden" not in output
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


def test_kernels_that_give_other_classes_are_told(tmp_path, caplog):
    arrays = make_golden(tiny_model(SIZE))
    write_with_golden(tmp_path / "a.tflite", tiny_model(SIZE), arrays)
    assert not caplog.records
    arrays["reference"] = np.roll(arrays["fast"], 1, axis=-1)
    write_with_golden(tmp_path / "a.tflite", tiny_model(SIZE), arrays)
    (record,) = caplog.records
    assert "reference kernels agree on" in record.getMessage()
    assert str(tmp_path / "a.tflite") in record.getMessage()


def test_names_of_golden_files(tmp_path):
    names = {"a.tflite": "a.golden.npz", "a.b.tflite": "a.b.golden.npz", "a": "a.golden.npz"}
    for model, file in names.items():
        assert golden_path(tmp_path / model) == tmp_path / file


def test_without_an_answer_nothing_is_written(tmp_path):
    path = tmp_path / "model.tflite"
    with pytest.raises(UserError, match="not a TFLite model"):
        write_with_golden(path, b"no model at all")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_written_leaves_the_old_pair(tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    file = write_with_golden(path, tiny_model(SIZE))
    before = path.read_bytes(), file.read_bytes()

    def full(path, data):
        raise OSError("no space left on device")

    monkeypatch.setattr(golden, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        write_with_golden(path, tiny_model((64, 64)))
    assert (path.read_bytes(), file.read_bytes()) == before
    assert len(list(tmp_path.iterdir())) == 2
