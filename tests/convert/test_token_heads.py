"""bge-m3's weights and vectors of tokens against torch, and the reader of `.pt` files that executes nothing."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sekisho.arrays import where
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.convert.torch_archive import read_linear
from sekisho.errors import ConversionFailed
from sekisho.runtime.onnx import OnnxRuntimeSession
from sekisho.runtime.openvino import OpenVinoSession
from tests.checkpoints_m3 import BASE, TINY_M3S, TinyM3, linear_pickle, write_linear, write_tiny_m3
from tests.goldens.m3 import FOLDER, load_golden
from tests.goldens_io import cosines

HEADS = ("sparse", "colbert")
WEIGHT, BIAS = np.arange(15, dtype=np.float32).reshape(3, 5), np.ones(3, np.float32)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("spec", TINY_M3S, ids=lambda spec: spec.name)
def test_tokens_get_what_torch_gives_them(spec: TinyM3, engine: str, tmp_path: Path) -> None:
    source = write_tiny_m3(spec, tmp_path / "source")
    contract = convert_directory(source, tmp_path / "made", Choices(heads=HEADS))
    assert contract.outputs == ("embedding", "norm", "sparse", "colbert")
    session = (
        OnnxRuntimeSession(tmp_path / "made", contract.outputs, 1, 2)
        if engine == "onnxruntime"
        else OpenVinoSession(tmp_path / "made", contract.outputs, 1, 2, "fp32")
    )
    golden = load_golden(spec.name)
    shape = (len(golden.ids), max(map(len, golden.ids)))
    ids, mask = np.full(shape, contract.pad_id, np.int32), np.zeros(shape, np.int32)
    for row, own in enumerate(golden.ids):
        ids[row, : len(own)], mask[row, : len(own)] = own, 1
    together = session.run(0, {"input_ids": ids, "attention_mask": mask} | where(mask))
    for row, own in enumerate(golden.ids):
        sparse, colbert = together[2][row], together[3][row]
        np.testing.assert_allclose(sparse[: len(own)], golden.sparse[row], rtol=1e-4, atol=2e-5)
        assert not sparse[len(own) :].any()
        assert cosines(colbert[1 : len(own)], golden.colbert[row]).min() >= 0.99999
        np.testing.assert_allclose(colbert[1 : len(own)], golden.colbert[row], atol=2e-5)
        assert not colbert[0].any()
        assert not colbert[len(own) :].any()


def test_the_one_vector_is_the_same_without_them(tmp_path: Path) -> None:
    source = write_tiny_m3(TINY_M3S[0], tmp_path / "source")
    plain = convert_directory(source, tmp_path / "plain", Choices())
    assert plain.outputs == ("embedding", "norm")
    only = convert_directory(source, tmp_path / "only", Choices(heads=("colbert",)))
    assert only.outputs == ("embedding", "norm", "colbert")
    ids = np.array([[0, 9, 12, 2]], np.int32)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)} | where(np.ones_like(ids))
    rows = [
        OnnxRuntimeSession(tmp_path / name, made.outputs, 1, 2).run(0, inputs)[0]
        for name, made in (("plain", plain), ("only", only))
    ]
    np.testing.assert_array_equal(rows[0], rows[1])


@pytest.mark.parametrize("heads", [("yes_no",), ("dense",)])
def test_a_head_that_does_not_exist_is_refused(heads: tuple[str, ...], tmp_path: Path) -> None:
    source = write_tiny_m3(TINY_M3S[0], tmp_path / "source")
    with pytest.raises(ConversionFailed, match=heads[0]):
        convert_directory(source, tmp_path / "made", Choices(heads=heads))


def test_a_head_whose_file_is_missing_is_named(tmp_path: Path) -> None:
    source = write_tiny_m3(TINY_M3S[0], tmp_path / "source")
    (source / "colbert_linear.pt").unlink()
    with pytest.raises(ConversionFailed, match=r"colbert_linear\.pt is missing"):
        convert_directory(source, tmp_path / "made", Choices(heads=HEADS))


@pytest.mark.parametrize("form", ["float32", "float16", "bfloat16"])
def test_what_torch_wrote_is_read(form: str) -> None:
    weight, bias = read_linear(FOLDER / f"layer-{form}.pt", 5)
    with np.load(FOLDER / "layer.npz") as stored:
        tolerance = {"float32": 0.0, "float16": 1e-3, "bfloat16": 1e-2}[form]
        np.testing.assert_allclose(weight, stored["weight"], rtol=tolerance)
        np.testing.assert_allclose(bias, stored["bias"], rtol=tolerance)


def refused(path: Path, inputs: int = 5) -> str:
    with pytest.raises(ConversionFailed, match=path.name) as caught:
        read_linear(path, inputs)
    return caught.value.message


def test_a_weight_that_lies_transposed_is_refused() -> None:
    assert "order" in refused(FOLDER / "transposed.pt", 4)


def test_a_layer_of_another_width_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "layer.pt"
    write_linear(path, WEIGHT, BIAS, "Float")
    assert read_linear(path, 5)[0].tolist() == WEIGHT.tolist()
    assert "sizes" in refused(path, 3)


class Trap:
    """What a hostile pickle would run."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path(__file__).with_name("executed"),)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_would_run_something_is_refused_unrun(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "layer.pt"
    write_linear(path, WEIGHT, BIAS, "Float", pickle=pickle.dumps(Trap(), protocol))
    assert "pickle" in refused(path)
    hidden = linear_pickle(WEIGHT, BIAS, "Float")[:-1] + b"cos\nsystem\n."
    write_linear(path, WEIGHT, BIAS, "Float", pickle=hidden)
    assert "os system" in refused(path)
    assert not Path(__file__).with_name("executed").exists()


def test_what_is_no_archive_of_a_layer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "layer.pt"
    path.write_bytes(b"no zip")
    refused(path)
    path.write_bytes(pickle.dumps({"weight": 1}))
    refused(path)
    write_linear(path, WEIGHT, BIAS, "Float", pickle=b"\x80\x02")
    refused(path)
    write_linear(path, WEIGHT, BIAS, "Float", pickle=b"N" * (1 << 17))
    refused(path)
    write_linear(path, WEIGHT, BIAS, "Float")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path)
    path.write_bytes(whole.replace(WEIGHT.tobytes(), (WEIGHT + 1).tobytes(), 1))
    refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("layer/data.pkl", linear_pickle(WEIGHT, BIAS, "Float"))
        archive.writestr("layer/data/0", WEIGHT.tobytes())
    assert "two tensors" in refused(path)


def test_the_base_is_an_encoder_of_the_right_kind() -> None:
    assert BASE.pooling == "cls"
    assert BASE.normalize
