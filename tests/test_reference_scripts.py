"""scripts/quantize.py and scripts/compare.py, as a user runs them; here, so without PyTorch.

scripts/export_onnx.py needs PyTorch's environment and is run by hand: docs/reference-export.md.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime import InferenceSession

from sekisho.assemble import open_catalog
from sekisho.contract import GRAPH_FILE, TOKENIZER_FILE, WEIGHTS_FILE
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.settings import Settings
from tests.checkpoints import TINY_BERTS, write_tiny_bert
from tests.exports import of_usual_inputs

SCRIPTS = Path(__file__).parents[1] / "scripts"
#: Starts a script as `python scripts/NAME` does, but where PyTorch cannot be imported.
WITHOUT_TORCH = (
    "import runpy, sys; sys.modules.update(torch=None, transformers=None, optimum=None); "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def run(script: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "utf8", "-c", WITHOUT_TORCH, SCRIPTS / script, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", check=False)


def numbers(report: str, row: str) -> list[str]:
    (line,) = [line for line in report.splitlines() if line.strip().startswith(row)]
    return line.strip().removeprefix(row).split()


@pytest.fixture(scope="module")
def minilm(minilm_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real all-MiniLM-L6-v2 as an export: a graph with its weights outside, and its tokenizer."""
    settings = Settings(home=minilm_home, models=SCRIPTS.parent / "models.yaml")
    catalog = open_catalog(settings)
    prepared = catalog.preparer.prepare(catalog.registry.find("all-minilm-l6-v2")).directory
    directory = tmp_path_factory.mktemp("export")
    of_usual_inputs(prepared / GRAPH_FILE, directory / GRAPH_FILE, WEIGHTS_FILE)
    shutil.copy(prepared / TOKENIZER_FILE, directory)
    return directory


@pytest.fixture(scope="module")
def quantized(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    target = tmp_path_factory.mktemp("quantized") / "made" / "model_int8.onnx"
    target.parent.mkdir()
    return target, run("quantize.py", "--in", minilm / GRAPH_FILE, "--out", target, cwd=target.parent)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as the first service's users have it: model_fp32.onnx and tokenizer/."""
    directory = tmp_path_factory.mktemp("tiny")
    convert_directory(write_tiny_bert(TINY_BERTS[0], directory / "checkpoint"), directory / "made", Choices())
    of_usual_inputs(directory / "made" / GRAPH_FILE, directory / "model_fp32.onnx")
    (directory / "tokenizer").mkdir()
    (directory / "made" / TOKENIZER_FILE).rename(directory / "tokenizer" / "tokenizer.json")
    return directory


def test_quantize_reports_progress_nodes_and_sizes(
    minilm: Path, quantized: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    target, done = quantized
    assert done.returncode == 0, done.stderr
    steps = [line.split(" ", 1)[1].split()[0] for line in done.stderr.splitlines()]
    assert steps == ["1/4", "2/4", "2/4", "3/4", "4/4"]

    before, after = (onnx.load(str(path), load_external_data=False) for path in (minilm / GRAPH_FILE, target))
    nodes = [len(before.graph.node), len(after.graph.node)]
    assert numbers(done.stdout, "nodes") == [str(nodes[0]), str(nodes[1]), f"{nodes[1] - nodes[0]:+}"]
    # Six layers of query, key, value, output and two dense ones; the two products of attention stay as they are.
    assert numbers(done.stdout, "MatMulInteger") == ["0", "36", "+36"]
    assert numbers(done.stdout, "MatMul ") == ["48", "12", "-36"]
    sizes = [sum((minilm / name).stat().st_size for name in (GRAPH_FILE, WEIGHTS_FILE)), target.stat().st_size]
    assert numbers(done.stdout, "size, MB")[:2] == [f"{size / 1e6:.1f}" for size in sizes]
    assert sizes[1] < sizes[0] * 0.27
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_weights_are_int8_per_channel(quantized: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    target, _ = quantized
    graph = onnx.load(str(target)).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            weight, zero = tensors[node.input[1]], tensors[node.input[3]]
            assert weight.data_type == onnx.TensorProto.INT8
            assert list(zero.dims) == [weight.dims[1]]


def test_compare_passes_the_real_model(
    minilm: Path, quantized: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    target, _ = quantized
    tokenizer = minilm / TOKENIZER_FILE
    done = run("compare.py", "--fp32", minilm / GRAPH_FILE, "--int8", target, "--tokenizer", tokenizer, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = done.stdout.splitlines()[1:17]
    assert table[0].endswith("動的計画法")
    assert table[-1].split(maxsplit=3)[3].startswith("A search engine compares")
    differences = [float(line.split()[1]) for line in table]
    mean = float(done.stdout.split("mean difference ")[1].split(",")[0])
    assert mean == pytest.approx(np.mean(differences), abs=2e-5)
    assert 0 < mean < 0.02
    # What the documentation warns of.
    assert 0.9 < float(done.stdout.rsplit("worst cosine ", 1)[1].split()[0]) < 0.9999


def test_both_find_their_files_in_the_current_directory(tiny: Path) -> None:
    quantize = run("quantize.py", cwd=tiny)
    assert quantize.returncode == 0, quantize.stderr
    texts = tiny / "texts.txt"
    texts.write_text("駅へ行く道を教えて\n\n  \nwhere is the station\n" + "長い " * 900 + "\n", "utf-8")
    compare = run("compare.py", "--texts", texts, "--max-length", "512", cwd=tiny)
    assert compare.returncode == 0, compare.stderr
    assert "3 texts: mean difference 0.0" in compare.stdout
    assert compare.stdout.splitlines()[3].split()[2] == "512"


def test_compare_fails_where_int8_is_too_far_away(tiny: Path, tmp_path: Path) -> None:
    """The same graph with other weights in its embeddings."""
    model = onnx.load(str(tiny / "model_fp32.onnx"))
    largest = max(model.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    values = onnx.numpy_helper.to_array(largest)
    largest.CopyFrom(onnx.numpy_helper.from_array(values[::-1].copy(), largest.name))
    onnx.save(model, str(tmp_path / "other.onnx"))
    done = run("compare.py", "--int8", tmp_path / "other.onnx", "--max-length", "64", cwd=tiny)
    assert done.returncode == 1
    assert "is not below 0.02" in done.stderr
    assert len(done.stdout.splitlines()) == 20  # the table all the same


def test_compare_measures_what_the_graphs_give(tiny: Path) -> None:
    """A graph against itself: no difference, alone and in company."""
    done = run("compare.py", "--int8", "model_fp32.onnx", "--max-length", "64", cwd=tiny)
    assert done.returncode == 0, done.stderr
    assert "mean difference 0.00000, largest 0.00000" in done.stdout.replace("-0.0", "0.0")
    assert "worst cosine 1.00000" in done.stdout


@pytest.mark.parametrize(
    ("script", "arguments", "reason"),
    [
        ("quantize.py", ["--in", "absent.onnx"], "absent.onnx is missing"),
        ("quantize.py", ["--out", "model_fp32.onnx"], "are the same file"),
        ("compare.py", ["--int8", "absent.onnx"], "absent.onnx is missing"),
        ("compare.py", ["--int8", "model_fp32.onnx", "--texts", "empty.txt"], "empty.txt holds no text"),
        ("compare.py", ["--int8", "model_fp32.onnx", "--texts", "absent.txt"], "absent.txt"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(tiny: Path, script: str, arguments: list[str], reason: str) -> None:
    (tiny / "empty.txt").write_text("\n\n", "utf-8")
    before = (tiny / "model_fp32.onnx").read_bytes()
    done = run(script, *arguments, cwd=tiny)
    assert done.returncode == 1
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (tiny / "model_fp32.onnx").read_bytes() == before


def test_a_graph_without_pooling_is_refused(tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(str(tiny / "model_fp32.onnx"))
    del model.graph.output[:]
    hidden = next(node.output[0] for node in reversed(model.graph.node) if "slots" in node.input)
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(hidden, onnx.TensorProto.FLOAT, ["batch", "sequence", 40])
    )
    onnx.save(model, str(tmp_path / "hidden.onnx"))
    assert InferenceSession(str(tmp_path / "hidden.onnx")).get_outputs()[0].name == hidden
    done = run("compare.py", "--int8", tmp_path / "hidden.onnx", cwd=tiny)
    assert done.returncode == 1
    assert "pooling has to be part of the graph" in done.stderr
