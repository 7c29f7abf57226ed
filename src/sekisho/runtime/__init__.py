"""How: a model in this process."""

import sys

# `import openvino` reports to an analytics service, with no setting that turns it off. Without this package, which it
# then takes for not installed, it does not.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # how Python is told that a module is absent
