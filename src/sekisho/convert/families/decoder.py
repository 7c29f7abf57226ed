"""Llama, Mistral and Qwen (convert/decoder_stack.py) with the heads that rerankers made of them have."""

from __future__ import annotations

from sekisho.contract import Kind
from sekisho.convert.blocks import Graph, Value, linear, pool
from sekisho.convert.decoder_stack import positions, stack
from sekisho.convert.family import Body, Config, Family, labels, read
from sekisho.errors import ConversionFailed


def build(g: Graph, config: Config, _kind: Kind) -> Body:
    """The stack without a language-model head."""
    return stack(g, config)


def classify(g: Graph, config: Config, body: Body) -> Value:
    """The last token's scores (…ForSequenceClassification)."""
    last = pool(g, body.hidden, body.mask, "last")
    return linear(g, last, "score", body.width, labels(config), bias=False)


def answer(g: Graph, config: Config, body: Body, words: tuple[int, int]) -> Value:
    """What the language-model head says of two words at the last token: logit of the first less that of the second.

    Its sigmoid is the softmax over the two.
    """
    size = read(config, "vocab_size", int)
    if not all(0 <= word < size for word in words):
        raise ConversionFailed(f"yes_no: ids {words} are not among the checkpoint's {size}")
    own = "lm_head.weight" in g.weights
    if not own and not config.get("tie_word_embeddings", False):
        raise ConversionFailed("a reranker needs a classification head (score) or a language-model head (lm_head)")
    name = "lm_head.weight" if own else "embed_tokens.weight"
    first, second = g.weights.take_rows(name, words, size, body.width)
    last = pool(g, body.hidden, body.mask, "last")
    return g.op.MatMul(last, g.constant("answer.weight", (first - second)[:, None]))


FAMILY = Family(
    name="decoder",
    model_types=("llama", "mistral", "qwen2", "qwen3"),
    rename=((r"^model\.", ""),),
    unused=(r"rotary_emb\.inv_freq$",),
    head=(r"^score\.", r"^lm_head\."),
    positions=positions,
    build=build,
    classify=classify,
    answer=answer,
)
