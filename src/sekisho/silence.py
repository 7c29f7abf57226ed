"""The engines below report to their makers; here they do not. Applied before either is imported."""

from __future__ import annotations

import os
import sys

#: ONNX Runtime's, of which the second is its later name: its builds for Linux and macOS upload what process, model and
#: speed they see, and write an id of the device (https://github.com/microsoft/onnxruntime/pull/27379). Its own
#: `disable_telemetry_events` comes after the first report.
_ONNX_RUNTIME = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")


def silence() -> None:
    """For this process and those that it starts."""
    for name in _ONNX_RUNTIME:
        os.environ[name] = "1"
    # `import openvino` reports to an analytics service, with no setting that turns it off. Without this package, which
    # it then takes for not installed, it does not.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # how Python is told that a module is absent
