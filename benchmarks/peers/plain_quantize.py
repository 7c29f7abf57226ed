"""The int8 graph of the plain server: SOURCE TARGET, in its environment. Dynamic, per tensor: the defaults."""

from __future__ import annotations

import sys

from onnxruntime.quantization import QuantType, quantize_dynamic

if __name__ == "__main__":
    quantize_dynamic(sys.argv[1], sys.argv[2], weight_type=QuantType.QInt8)
