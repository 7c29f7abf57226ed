"""The fp32 graph of the plain server, by PyTorch's exporter: CHECKPOINT GRAPH.

It runs in the environment of Infinity, which has both PyTorch and onnx.
Its output is the last hidden state, as optimum's export has it; pooling stays with the server.
"""

from __future__ import annotations

import sys
import warnings


def main() -> None:
    """The command line."""
    import torch  # not in the project's own environment
    from transformers import AutoModel, AutoTokenizer

    checkpoint, target = sys.argv[1:]
    model = AutoModel.from_pretrained(checkpoint, attn_implementation="eager").eval()
    model.config.return_dict = False
    given = AutoTokenizer.from_pretrained(checkpoint)("A city needs water.", return_tensors="pt")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    free = {0: "batch", 1: "sequence"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the exporter is the older one, and that shapes are traced
        torch.onnx.export(
            model,
            tuple(given[name] for name in names),
            target,
            input_names=names,
            output_names=["last_hidden_state"],
            dynamic_axes=dict.fromkeys([*names, "last_hidden_state"], free),
            opset_version=17,
            dynamo=False,
        )


if __name__ == "__main__":
    main()
