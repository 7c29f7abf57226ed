"""fp32 against int8 over texts: exit 1 where the mean cosine difference is 0.02 or more. No PyTorch.

    python scripts/compare.py [--fp32 model_fp32.onnx] [--int8 model_int8.onnx] [--tokenizer tokenizer/] [--texts FILE]

FILE holds one text a line. Each text is run alone, then all in batches of 32: dynamic int8 gives a text another vector
in other company, and the last line of the report says how far apart the two are.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

LIMIT = 0.02
BATCH = 32
SAMPLE = (
    "動的計画法",
    "グラフ理論",
    "深さ優先探索",
    "ベルマンフォード",
    "ワーシャルフロイド",
    "明日の東京の天気を教えてください。",
    "返品には未使用で購入から30日以内という条件があります。",
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "関所手形を持たない旅人は、箱根の関所を通ることができなかった。",
    "ノートPCのバッテリーが1時間しかもたないのですが、交換できますか？",
    "dynamic programming",
    "shortest path in a weighted graph",
    "What is the weather in Tokyo tomorrow?",
    "Items can be returned unused within 30 days of purchase.",
    "The quick brown fox jumps over the lazy dog.",
    "A search engine compares the vector of a query with the vectors of its documents and shows the nearest first.",
)

Vectors = NDArray[np.float32]


class Model:
    """A graph whose one output of rank two is a vector for each text."""

    def __init__(self, path: Path, tokenizer: Tokenizer, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._tokenizer = tokenizer
        outputs = [output for output in self._session.get_outputs() if len(output.shape) == 2]
        if not outputs:
            raise ValueError(f"{path} has no output of one vector a text: pooling has to be part of the graph")
        self._output = outputs[0].name
        self._types = {
            node.name: np.int32 if node.type == "tensor(int32)" else np.int64 for node in self._session.get_inputs()
        }
        unknown = self._types.keys() - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown:
            raise ValueError(f"{path} has inputs that no tokenizer gives: {', '.join(sorted(unknown))}")

    def embed(self, texts: list[str]) -> Vectors:
        """The vectors of texts that share a batch, at length one."""
        encoded = self._tokenizer.encode_batch(texts)
        given: dict[str, Any] = {
            "input_ids": [one.ids for one in encoded],
            "attention_mask": [one.attention_mask for one in encoded],
            "token_type_ids": [one.type_ids for one in encoded],
        }
        inputs = {name: np.array(given[name], kind) for name, kind in self._types.items()}
        (vectors,) = self._session.run([self._output], inputs)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    def tokens(self, text: str) -> int:
        """How long a text is."""
        return len(self._tokenizer.encode(text).ids)


def load_tokenizer(path: Path, max_length: int) -> Tokenizer:
    """From tokenizer.json or its directory; padding to the longest text of a batch."""
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json" if path.is_dir() else path))
    padding = tokenizer.padding or {}
    names = [name for name in ("[PAD]", "<pad>") if tokenizer.token_to_id(name) is not None]
    token = padding.get("pad_token") or (names[0] if names else "[PAD]")
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(token) or 0, pad_token=token)
    tokenizer.enable_truncation(max_length)
    return tokenizer


def cosines(ours: Vectors, theirs: Vectors) -> list[float]:
    """Row by row."""
    return [float(cosine) for cosine in np.einsum("ij,ij->i", ours.astype(np.float64), theirs.astype(np.float64))]


def compare(fp32: Model, int8: Model, texts: list[str]) -> float:
    """Print the table; the mean difference."""
    exact = np.vstack([fp32.embed([text]) for text in texts])
    alone = np.vstack([int8.embed([text]) for text in texts])
    together = np.vstack([int8.embed(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)])
    found = cosines(exact, alone)
    print(f"{'cosine':>10}{'difference':>13}{'tokens':>9}  text")
    for text, cosine in zip(texts, found, strict=True):
        print(f"{cosine:>10.5f}{1 - cosine:>13.5f}{fp32.tokens(text):>9}  {_shown(text)}")
    differences = [1 - cosine for cosine in found]
    mean = statistics.mean(differences)
    print(f"\n{len(texts)} texts: mean difference {mean:.5f}, largest {max(differences):.5f}")
    company = cosines(alone, together)
    print(f"int8 alone against in batches of {BATCH}: worst cosine {min(company):.5f}")
    return mean


def _shown(text: str, width: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fp32", type=Path, default=Path("model_fp32.onnx"), metavar="FILE")
    parser.add_argument("--int8", type=Path, default=Path("model_int8.onnx"), metavar="FILE")
    parser.add_argument(
        "--tokenizer", type=Path, default=Path("tokenizer"), metavar="PATH", help="tokenizer.json or its directory"
    )
    parser.add_argument("--texts", type=Path, metavar="FILE", help="UTF-8, one text a line (a sample of 16)")
    parser.add_argument("--max-length", type=int, default=256, help="longest input in tokens (256)")
    parser.add_argument("--threads", type=int, default=0, help="of ONNX Runtime (as many as cores)")
    arguments = parser.parse_args()
    try:
        texts = list(SAMPLE)
        if arguments.texts:
            texts = [line for line in arguments.texts.read_text("utf-8").splitlines() if line.strip()]
        if not texts:
            raise ValueError(f"{arguments.texts} holds no text")
        for path in (arguments.fp32, arguments.int8, arguments.tokenizer):
            if not path.exists():
                raise ValueError(f"{path} is missing")
        tokenizer = load_tokenizer(arguments.tokenizer, arguments.max_length)
        fp32, int8 = (Model(path, tokenizer, arguments.threads) for path in (arguments.fp32, arguments.int8))
        mean = compare(fp32, int8, texts)
    except (OSError, ValueError) as error:
        sys.exit(f"compare.py: {error}")
    if not mean < LIMIT:
        sys.exit(f"compare.py: the mean difference {mean:.5f} is not below {LIMIT}")
    print(f"ok: below {LIMIT}")


if __name__ == "__main__":
    main()
