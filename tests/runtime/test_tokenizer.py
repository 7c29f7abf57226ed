"""Text to ids: the golden's ids, exact cuts at bounded cost, prompts that stay."""

from __future__ import annotations

import json
import time
from array import array
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sekisho.catalog.prepare import Prepared
from sekisho.contract import TOKENIZER_FILE, Contract, Passage, Tokens, Truncation
from sekisho.errors import ConversionFailed, InputTooLong, InvalidRequest
from sekisho.runtime.tokenizer import TextTokenizer
from tests.goldens_io import MINILM, TINY_NAMES, golden_texts, load_golden

CLS, SEP = 101, 102
#: Short enough that random texts are far over it.
LIMIT = 16


@pytest.fixture(scope="session")
def tokenizer(minilm: Prepared) -> TextTokenizer:
    return TextTokenizer(minilm.directory, minilm.contract)


@pytest.fixture(scope="session")
def short(minilm: Prepared) -> TextTokenizer:
    """The same, of a model that reads few tokens."""
    return TextTokenizer(minilm.directory, replace(minilm.contract, max_tokens=LIMIT))


@pytest.fixture(scope="session")
def plain(minilm: Prepared) -> Tokenizer:
    """The library itself, without limits."""
    library = Tokenizer.from_file(str(minilm.directory / TOKENIZER_FILE))
    library.no_truncation()
    library.no_padding()
    return library


def ids(tokenizer: TextTokenizer, text: str, truncation: Truncation = "end", prompt: str = "") -> list[int]:
    return list(one(tokenizer, text, truncation, prompt).ids)


def one(tokenizer: TextTokenizer, text: str, truncation: Truncation = "end", prompt: str = "") -> Tokens:
    return tokenizer.encode([Passage(prompt + text, len(prompt))], truncation)[0]


def test_minilm_gives_the_ids_of_the_golden(tokenizer: TextTokenizer) -> None:
    golden = load_golden(MINILM)
    tokens = tokenizer.encode([Passage(text) for text in golden_texts()], "end")
    assert [list(each.ids) for each in tokens] == golden.ids
    assert any(each.truncated for each in tokens)


@pytest.mark.parametrize("name", TINY_NAMES)
def test_tiny_ones_give_the_ids_of_their_goldens(tiny: dict[str, Prepared], name: str) -> None:
    own = TextTokenizer(tiny[name].directory, tiny[name].contract)
    tokens = own.encode([Passage(text) for text in golden_texts()], "end")
    assert [list(each.ids) for each in tokens] == load_golden(name).ids


def test_each_text_is_cut_alone_as_in_a_batch(tokenizer: TextTokenizer) -> None:
    texts = golden_texts()[::7]
    together = [list(each.ids) for each in tokenizer.encode([Passage(text) for text in texts], "end")]
    assert [ids(tokenizer, text) for text in texts] == together


def test_truncated_says_whether_anything_was_cut(short: TextTokenizer) -> None:
    fits = "a " * (LIMIT - 2)
    assert one(short, fits) == Tokens(array("i", [CLS, *[1037] * (LIMIT - 2), SEP]), truncated=False)
    over = one(short, fits + "b")
    assert over.truncated
    assert over.ids == one(short, fits).ids


def cut(plain: Tokenizer, text: str, truncation: Truncation, prompt: str = "") -> list[int]:
    """What a cut must give, by way of the whole text's ids."""
    return cut_ids(plain, plain.encode(prompt + text).ids, truncation, prompt)


def cut_ids(plain: Tokenizer, whole: list[int], truncation: Truncation, prompt: str = "") -> list[int]:
    if len(whole) <= LIMIT:
        return list(whole)
    body, room = whole[1:-1], LIMIT - 2
    if truncation == "end":
        return [CLS, *body[:room], SEP]
    kept = plain.encode(prompt, add_special_tokens=False).ids[:room]
    return [CLS, *kept, *body[len(body) - (room - len(kept)) :], SEP]


WORDS = st.sampled_from(
    ["the", "gateway", "unaffable", "検索", "モデル", "한국어", "é", "e\u0301", "ａ", "ﬁ", "ß", "İ", "Σ", "!?", "...",
     "[SEP]", "[MASK]", "[", "\u200b", "\x00", "\ufffd", "🎉", "👩\u200d👧", "\u0301", "x" * 99, "x" * 100, "x" * 101,
     "ab" * 300, "'s", "##ing"]
)  # fmt: skip
GAPS = st.sampled_from(["", " ", "  ", "\n", "\t", "　", "-", "、", "\u2028"])
TEXTS = st.one_of(
    st.lists(st.tuples(WORDS, GAPS, st.integers(1, 60)), max_size=12).map(
        lambda parts: "".join((word + gap) * count for word, gap, count in parts)
    ),
    st.text(max_size=600),
    st.text(alphabet=st.characters(categories=["L", "M", "P", "S", "Z"]), max_size=600).map(lambda text: text * 3),
)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, truncation=st.sampled_from(["end", "start"]))
@example(text="x" * 300, truncation="end")
@example(text="x" * 300, truncation="start")
@example(text=" " * 5000 + "end", truncation="end")
@example(text="start" + " " * 5000, truncation="start")
def test_a_clipped_text_gives_what_the_whole_would(
    short: TextTokenizer, plain: Tokenizer, text: str, truncation: Truncation
) -> None:
    assert ids(short, text, truncation) == cut(plain, text, truncation)


@settings(max_examples=150, deadline=None)
@given(
    text=TEXTS, prompt=st.one_of(st.sampled_from(["query: ", "検索クエリ: ", "Q", "un", "x" * 150, "q " * 30]), TEXTS)
)
@example(text="ick " * 2000, prompt="qu")
@example(text="b " * 40, prompt="a" * 90 + " " * 3000)
def test_a_prompt_stays_when_the_start_is_cut(short: TextTokenizer, plain: Tokenizer, text: str, prompt: str) -> None:
    assert ids(short, text, "start", prompt) == cut(plain, text, "start", prompt)


def test_a_prompt_longer_than_a_clip_is_not_counted_twice(tokenizer: TextTokenizer, plain: Tokenizer) -> None:
    """200 tokens that take more characters than are looked at first, and a text that fits behind them."""
    prompt = ("a" + " " * 15) * 200
    tokens = one(tokenizer, "b c", "start", prompt)
    assert tokens == Tokens(array("i", plain.encode(prompt + "b c").ids), truncated=False)


def test_a_prompt_and_the_end_of_the_text_are_kept(tokenizer: TextTokenizer, plain: Tokenizer) -> None:
    words = [f"word{i}" for i in range(5000)]
    kept = ids(tokenizer, " ".join(words), "start", "query: ")
    assert len(kept) == 256
    assert kept[1:3] == plain.encode("query:", add_special_tokens=False).ids
    assert plain.decode(kept).endswith("word4998 word4999")


def test_the_end_is_cut_by_default_order_of_the_text(tokenizer: TextTokenizer, plain: Tokenizer) -> None:
    words = " ".join(f"word{i}" for i in range(5000))
    kept = ids(tokenizer, words, "end", "query: ")
    assert plain.decode(kept).startswith("query : word0 word1 word2")


GIANTS = {
    "a word of a million characters": "a" * 1_000_000,
    "five megabytes of prose": "the quick brown fox jumps over the lazy dog. " * 116_000,
    "five megabytes of Japanese": "日本語の文章を検索する。" * 145_000,
    "a million spaces and a word": " " * 1_000_000 + "end",
    "a word after a giant one": "a" * 1_000_000 + " end",
    "words around a giant one": "start " * 300 + "a" * 1_000_000 + " end" * 300,
}


@pytest.mark.parametrize("name", GIANTS)
def test_giant_texts_are_cut_exactly(short: TextTokenizer, plain: Tokenizer, name: str) -> None:
    whole = plain.encode(GIANTS[name]).ids
    for truncation in ("end", "start"):
        assert ids(short, GIANTS[name], truncation) == cut_ids(plain, whole, truncation), truncation


def test_five_megabytes_cost_what_their_first_part_costs(tokenizer: TextTokenizer) -> None:
    """Hundreds of times less than the whole; the bound is loose for slow machines."""
    text = GIANTS["five megabytes of prose"]

    def seconds(truncation: Truncation, given: str) -> float:
        began = time.perf_counter()
        ids(tokenizer, given, truncation)
        return time.perf_counter() - began

    whole = seconds("end", text[: 256 * 12]) * len(text) / (256 * 12)
    assert min(seconds("end", text) for _ in range(3)) < whole / 20
    assert min(seconds("start", text) for _ in range(3)) < whole / 20


def test_without_truncation_a_longer_text_is_refused_with_both_counts(tokenizer: TextTokenizer) -> None:
    passages = [Passage("short"), Passage("a " * 1198)]
    with pytest.raises(InputTooLong, match=r"^input\[1\] is 1,200 tokens long and the model reads 256") as caught:
        tokenizer.encode(passages, "none")
    assert caught.value.param == "input"
    assert [len(each) for each in tokenizer.encode([Passage("a " * 254)], "none")] == [256]


def test_native_ids_are_completed_with_the_special_tokens(tokenizer: TextTokenizer) -> None:
    def own(*given: int) -> list[int]:
        return list(tokenizer.encode([Passage("", ids=given)], "end")[0].ids)

    assert own(1037, 2003) == [CLS, 1037, 2003, SEP]
    assert own(CLS, 1037, SEP) == [CLS, 1037, SEP]
    assert own(CLS, 1037) == [CLS, 1037, SEP]
    assert own(1037, SEP) == [CLS, 1037, SEP]
    assert own() == [CLS, SEP]


def test_native_ids_are_cut_too(short: TextTokenizer) -> None:
    given = tuple(range(2000, 2100))
    (end,) = short.encode([Passage("", ids=given)], "end")
    (start,) = short.encode([Passage("", ids=given)], "start")
    assert end == Tokens(array("i", [CLS, *given[: LIMIT - 2], SEP]), truncated=True)
    assert start == Tokens(array("i", [CLS, *given[-(LIMIT - 2) :], SEP]), truncated=True)
    with pytest.raises(InputTooLong, match="102 tokens"):
        short.encode([Passage("", ids=given)], "none")


@pytest.mark.parametrize("foreign", [-1, 30522, 10**12])
def test_foreign_ids_are_refused_by_name(tokenizer: TextTokenizer, foreign: int) -> None:
    with pytest.raises(InvalidRequest, match=rf"input\[1\] holds the token id {foreign}; .* 30521") as caught:
        tokenizer.encode([Passage("a"), Passage("", ids=(1, foreign))], "end")
    assert caught.value.param == "input"


def test_texts_and_ids_in_one_request_keep_their_places(tokenizer: TextTokenizer) -> None:
    passages = [Passage("a"), Passage("", ids=(1038,)), Passage("c"), Passage("", ids=(1040,))]
    assert [each.ids[1] for each in tokenizer.encode(passages, "end")] == [1037, 1038, 1039, 1040]


def test_no_passages_no_tokens(tokenizer: TextTokenizer) -> None:
    assert tokenizer.encode([], "end") == []


@pytest.mark.parametrize("text", ["\ud800", "a" * 10_000 + "\udfff"])
@pytest.mark.parametrize("truncation", ["end", "start", "none"])
def test_a_lone_surrogate_is_refused(tokenizer: TextTokenizer, text: str, truncation: Truncation) -> None:
    with pytest.raises(InvalidRequest, match=r"input\[1\] holds half of a surrogate pair"):
        tokenizer.encode([Passage("a"), Passage(text)], truncation)


def test_the_files_own_truncation_and_padding_are_not_used(tokenizer: TextTokenizer, minilm: Prepared) -> None:
    """This tokenizer.json truncates at 128 and pads to 128."""
    stored = json.loads((minilm.directory / TOKENIZER_FILE).read_text("utf-8"))
    assert stored["truncation"]["max_length"] == 128
    assert len(ids(tokenizer, "a")) == 3
    assert len(ids(tokenizer, "a " * 500)) == 256


def test_the_tokenizer_of_a_larger_model_is_refused(minilm: Prepared, tiny: dict[str, Prepared]) -> None:
    with pytest.raises(ConversionFailed, match=r"tokenizer\.json has 30,522 ids, the model 1,021 rows"):
        TextTokenizer(minilm.directory, tiny["tiny-bert-mean"].contract)


def test_an_id_beyond_the_models_rows_is_refused_where_the_count_would_fit(
    tmp_path: Path, tiny: dict[str, Prepared]
) -> None:
    """A vocabulary with holes: fewer entries than rows, and one of them past the last row."""
    prepared = tiny["tiny-bert-mean"]
    stored = json.loads((prepared.directory / TOKENIZER_FILE).read_text("utf-8"))
    vocabulary = stored["model"]["vocab"]
    vocabulary["the"] = 5000
    del vocabulary["[unused0]"]
    (tmp_path / TOKENIZER_FILE).write_text(json.dumps(stored), "utf-8")
    with pytest.raises(ConversionFailed, match="has 5,001 ids"):
        TextTokenizer(tmp_path, prepared.contract)


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"model": {"type": "Magic"}}'])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path, minilm: Prepared, text: str) -> None:
    (tmp_path / TOKENIZER_FILE).write_text(text)
    with pytest.raises(ConversionFailed, match=r"tokenizer\.json is not a readable tokenizer"):
        TextTokenizer(tmp_path, minilm.contract)


def test_a_tokenizer_that_is_not_clipped_still_cuts(tmp_path: Path, minilm: Prepared) -> None:
    stored = json.loads((minilm.directory / TOKENIZER_FILE).read_text("utf-8"))
    stored["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [{"type": "UnicodeScripts"}, {"type": "Whitespace"}],
    }
    (tmp_path / TOKENIZER_FILE).write_text(json.dumps(stored), "utf-8")
    contract: Contract = replace(minilm.contract, max_tokens=LIMIT)
    other = TextTokenizer(tmp_path, contract)
    assert ids(other, "a " * 5000) == [CLS, *[1037] * (LIMIT - 2), SEP]
