"""model_fp32.onnx → model_int8.onnx: dynamic int8 by ONNX Runtime, per channel, checked and reported. No PyTorch.

    python scripts/quantize.py [--in model_fp32.onnx] [--out model_int8.onnx]

Dynamic int8 depends on its batch: docs/reference-export.md says by how much.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

log = logging.getLogger("quantize")

#: One protobuf file holds no more than this.
_PROTOBUF_LIMIT = 2**31


def quantize(source: Path, target: Path, *, reduce_range: bool = False) -> None:
    """Write `target`, whole or not at all. Raises onnx.checker.ValidationError where the result is no valid graph."""
    log.info("1/4 reading %s", source)
    before = onnx.load(str(source), load_external_data=False)
    size_before = _size(source, before)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".quantize-") as temporary:
        staged = Path(temporary) / target.name
        log.info("2/4 quantizing: weights int8 per channel, activations as they come")
        began = time.perf_counter()
        quantize_dynamic(
            str(source),
            str(staged),
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
            use_external_data_format=size_before >= _PROTOBUF_LIMIT,
        )
        log.info("2/4 quantized in %.1f s", time.perf_counter() - began)
        log.info("3/4 onnx.checker")
        onnx.checker.check_model(str(staged))
        after = onnx.load(str(staged), load_external_data=False)
        size_after = _size(staged, after)
        for file in Path(temporary).iterdir():
            os.replace(file, target.parent / file.name)
    log.info("4/4 done: %s", target)
    _report(before, after, size_before, size_after)


def _size(path: Path, model: onnx.ModelProto) -> int:
    """Bytes on disk, the files of weights kept outside the graph included."""
    locations: set[str] = {
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return sum(file.stat().st_size for file in (path, *(path.parent / location for location in locations)))


def _report(before: onnx.ModelProto, after: onnx.ModelProto, size_before: int, size_after: int) -> None:
    counts = [Counter(str(node.op_type) for node in model.graph.node) for model in (before, after)]
    print(f"{'':28}{'fp32':>12}{'int8':>12}{'change':>12}")
    nodes = [sum(count.values()) for count in counts]
    print(f"{'nodes':28}{nodes[0]:>12,}{nodes[1]:>12,}{nodes[1] - nodes[0]:>+12,}")
    for kind in sorted(counts[0] | counts[1]):
        was, now = counts[0][kind], counts[1][kind]
        if was != now:
            print(f"  {kind:26}{was:>12,}{now:>12,}{now - was:>+12,}")
    saved = size_after / size_before - 1
    print(f"{'size, MB':28}{size_before / 1e6:>12,.1f}{size_after / 1e6:>12,.1f}{saved:>+12.1%}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in", dest="source", type=Path, default=Path("model_fp32.onnx"), metavar="FILE")
    parser.add_argument("--out", dest="target", type=Path, default=Path("model_int8.onnx"), metavar="FILE")
    parser.add_argument(
        "--reduce-range", action="store_true", help="weights of 7 bits, for x86 CPUs without VNNI, where 8 can overflow"
    )
    arguments = parser.parse_args()
    # The quantizer writes a line for each tensor to the root logger.
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO)
    if not arguments.source.is_file():
        sys.exit(f"quantize.py: {arguments.source} is missing: scripts/export_onnx.py makes it, or name one with --in")
    if arguments.target.exists() and arguments.source.samefile(arguments.target):
        sys.exit("quantize.py: --in and --out are the same file")
    try:
        quantize(arguments.source, arguments.target, reduce_range=arguments.reduce_range)
    except (OSError, onnx.checker.ValidationError) as error:
        sys.exit(f"quantize.py: {error}")


if __name__ == "__main__":
    main()
