"""Qwen3-Reranker in small: random Qwen3 checkpoints with a byte-level tokenizer as Qwen's file has it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.checkpoints_decoders import TinyDecoder, tiny_decoder_weights, write_safetensors
from tests.goldens.judge import FOLDER, LIMIT, VOCABULARY

_QWEN3 = {
    "model_type": "qwen3",
    "max_position_embeddings": LIMIT,
    "vocab_size": VOCABULARY + 7,  # Qwen's table too has rows that no token has
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "hidden_act": "silu",
    "architectures": ["Qwen3ForCausalLM"],
}

JUDGES = (
    TinyDecoder(
        "judge-tied",
        331,
        _QWEN3
        | {
            "num_hidden_layers": 3,
            "hidden_size": 39,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "intermediate_size": 50,
            "head_dim": 26,
            "tie_word_embeddings": True,
        },
        limit=LIMIT,
        kind="reranker",
        dtype="BF16",
        stored="model.",
    ),
    TinyDecoder(
        "judge-untied",
        332,
        _QWEN3
        | {
            "num_hidden_layers": 2,
            "hidden_size": 36,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 30,
            "head_dim": 10,
            "tie_word_embeddings": False,
        },
        limit=LIMIT,
        kind="reranker",
        stored="model.",
        head="lm_head",
    ),
)


def write_judge(spec: TinyDecoder, directory: Path) -> Path:
    """Write `spec` with the tokenizer of tests/goldens/tiny-judge."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(dict(spec.config), indent=1) + "\n", "utf-8")
    write_safetensors(tiny_decoder_weights(spec), directory / "model.safetensors", spec.dtype)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(FOLDER / name, directory / name)
    return directory
