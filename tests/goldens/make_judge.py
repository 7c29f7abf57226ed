"""Write tiny-judge/: a byte-level tokenizer as Qwen's, and what Qwen3-Reranker's own code gives with it.

Run by scripts/goldens. The code follows the model's card: the pair is formatted as one text, cut to what prefix and
suffix leave, framed by their ids, padded at the left; the score is the softmax over `no` and `yes` at the last
position.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.checkpoints_judge import JUDGES, write_judge
from tests.goldens.corpus import load_texts
from tests.goldens.judge import FOLDER, LIMIT, VOCABULARY, Judged, judged, save_golden, template

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PLAIN = ["<think>", "</think>"]
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BATCH = 4
LONGEST = 2000


def write_tokenizer() -> None:
    """Qwen's tokenizer.json, of another vocabulary."""
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="", byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    added = len(SPECIAL) + len(PLAIN)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - added,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    said = [*(text for text in load_texts() if len(text) <= LONGEST), *template().values(), "yes", "no"]
    tokenizer.train_from_iterator([*said, *template().values(), *["yes", "no", " yes", " no"] * 20] * 3, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in PLAIN])
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise AssertionError(f"{tokenizer.get_vocab_size()} tokens, not {VOCABULARY}")
    FOLDER.mkdir(exist_ok=True)
    tokenizer.save(str(FOLDER / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "model_max_length": 131072,
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
    }
    (FOLDER / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")


def text_of(pair: Judged) -> str:
    """The card's format_instruction."""
    task = pair.instruction or template()["task"]
    return f"<Instruct>: {task}\n<Query>: {pair.query}\n<Document>: {pair.document}"


def inputs_of(tokenizer: Any, pairs: list[Judged]) -> list[list[int]]:
    prefix = tokenizer.encode(template()["prefix"], add_special_tokens=False)
    suffix = tokenizer.encode(template()["suffix"], add_special_tokens=False)
    made = tokenizer(
        [text_of(pair) for pair in pairs],
        padding=False,
        truncation="longest_first",
        return_attention_mask=False,
        max_length=LIMIT - len(prefix) - len(suffix),
    )
    return [prefix + own + suffix for own in made["input_ids"]]


def outputs_of(tokenizer: Any, model: Any, ids: list[list[int]]) -> NDArray[np.float32]:
    no, yes = tokenizer.convert_tokens_to_ids("no"), tokenizer.convert_tokens_to_ids("yes")
    rows = []
    for start in range(0, len(ids), BATCH):
        inputs = tokenizer.pad({"input_ids": ids[start : start + BATCH]}, padding=True, return_tensors="pt")
        pairs = model(**inputs).logits[:, -1, [no, yes]]
        chances = torch.nn.functional.log_softmax(pairs, dim=1)[:, 1].exp()
        rows.append(torch.stack([chances, pairs[:, 1] - pairs[:, 0]], dim=1))
    return np.asarray(torch.cat(rows), np.float32)


def main() -> None:
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    write_tokenizer()
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for spec in JUDGES:
            directory = write_judge(spec, Path(folder) / spec.name)
            tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
            model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
            ids = inputs_of(tokenizer, judged())
            outputs = outputs_of(tokenizer, model, ids)
            cut = sum(len(own) == LIMIT for own in ids)
            if not np.isfinite(outputs).all() or outputs[:, 1].std() < 0.3 or cut < 5 or cut > len(ids) - 20:
                raise AssertionError(f"{spec.name}: {outputs[:, 1].std()} of spread, {cut} of {len(ids)} cut")
            save_golden(spec.name, ids, outputs)
            low, high = outputs[:, 1].min(), outputs[:, 1].max()
            print(f"{spec.name}: {len(ids)} pairs, {cut} cut at {LIMIT}, logits {low:.2f} to {high:.2f}")
    print(f"all: {sum(path.stat().st_size for path in FOLDER.iterdir())} bytes")


if __name__ == "__main__":
    main()
