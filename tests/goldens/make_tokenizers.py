"""Write tests/goldens/tokenizers: the ids that transformers' own Japanese tokenizers give. Run by scripts/goldens.

For each tokenizer a folder with the files a checkpoint has, made here, and `ids.npz`: what transformers makes of each
text of `texts.json`, and of pairs of them cut to several lengths.
"""

from __future__ import annotations

import ast
import io
import json
import os
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import fugashi
import numpy as np
import sentencepiece
import unidic_lite
from numpy.typing import NDArray
from transformers import BertJapaneseTokenizer, BertTokenizerFast, MLukeTokenizer, XLMRobertaTokenizerFast

from tests.goldens.corpus import load_texts

FOLDER = Path(__file__).parent / "tokenizers"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
#: Lengths that pairs are cut to; the first leave no room for the second text of some pairs.
PAIR_LENGTHS = (12, 17, 64, 512)
LONGEST_CORPUS_TEXT = 2000

PLACES = "東京駅 図書館 京都の寺 北海道 会議室 病院 海辺の町 研究所 コンビニ 神奈川県横浜市 サーバー室 渋谷".split()
PEOPLE = "私 田中さん 先生 利用者 弟 エンジニア お客様 彼女 担当者 猫 店長 髙橋氏".split()
ACTS = (
    "本を読んだ 検索した 待っています 会議を開く 返品したいと言った 写真を撮らなかった モデルを学習させる "
    "歩きながら話した 申し込みました データを送信できない 食べすぎた 走るのが速い"
).split()
TIMES = "昨日 今朝 2024年3月 来週の水曜日 ずっと 午後3時15分 平成31年 いつも".split()
ENDS = ["。", "？", "！", "…", "、と聞いた。", "（笑）", "です。", ""]
FORMS = r"""ｶﾞｷﾞｸﾞｹﾞｺﾞ ﾊﾟﾋﾟﾌﾟ
ﾊﾝｶｸｶﾅのﾃｽﾄです｡
ﾃﾞｰﾀﾍﾞｰｽ･ｻｰﾊﾞｰ
①②③の手順で進める。
⑴㈱東芝㍿トヨタ
㍻㍾㍽㍼の元号、㋿
㌔㌢㍍㌘㌧㌃㌶㍑㍗㌍㌦㌣㌫㍊㌻
Ⅳ章とⅻ節、№５、℡０３−１２３４
ＡＢＣａｂｃ１２３！？
Ｐｙｔｈｏｎ　３．１１をｲﾝｽﾄｰﾙ
𠮷野家で𩸽を食べる
龘靐齉爩鱻麤龗灪
髙島屋と﨑山さん、神神
葛󠄀城市と辻󠄁
がぎぐげご（結合文字）
👩‍👩‍👧‍👦の家族🎉🎊
今日は🌞、明日は☔️ 1️⃣ 🇯🇵
(´･ω･`)ｼｮﾎﾞｰﾝ
ヽ(；▽；)ノわーい
すもももももももものうち
うらにわにはにわにわとりがいる
東京都京都市
外国人参政権
ーーーーーーーーーー
あああああああああああああああああああああああああああああああああああああああ
ｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗｗ
1,000円と2,500,000円、3.14、1,2,3
価格は¥1,980(税込)～￥３，０００
https://example.com/検索?q=日本語&n=10
foo_bar@example.co.jpまで
C++とC#、.NETの違い
``引用''と“引用”と「引用」
[MASK]は[UNK]です[SEP]次[CLS]
<s>文</s><mask> と <unk> <pad><ent>名<ent2>
 [MASK] の前後 [SEP] に空白\x20
 <mask> の前後 </s> に空白\x20
<S>大文字</S>[mask][sep]
ΣΑΣ ΟΔΟΣ İstanbul ẞ ﬃ ﬁ
Ünïcödé naïve café résumé
한국어와 中文简体繁體 ภาษาไทย עברית العربية हिन्दी
　全角　空白　で　始まる
  前後に空白 \x20
タブ\tと改行\nと復帰\rの\r\nテスト
垂直\x0bタブ\x0c改頁
零幅\u200b空白\ufeffBOM\u00ad
行\u2028区切り\u2029段落\x85次
制御\x01文字\x1f含む\x7f終
単位\x1c分離\x1d記\x1e号
ヌル\x00文字
\u3000
\t\n
、。・
〜～－−ー―‐
ヽヾゝゞ々〻〼
ヷヸヹヺヿゟ
゛゜ﾞﾟ
か゛は゜
㊤㊦㊧㊨㊙
ｱｲｳｴｵ１２３ＡＢＣあいう亜
々々々時々刻々
IPアドレスは192.168.0.1です
2024/03/31 23:59:59 JST
😀😃😄😁😆😅🤣😂🙂🙃😉😊😇🥰😍🤩😘😗☺😚😙🥲😋😛😜🤪😝
"""


def japanese_texts() -> list[str]:
    """At least 300 sentences, the forms above, and all of the corpus but the longest."""
    draw = random.Random(20240331)
    texts = [
        f"{draw.choice(TIMES)}、{draw.choice(PEOPLE)}は{draw.choice(PLACES)}で{draw.choice(ACTS)}{draw.choice(ENDS)}"
        for _ in range(240)
    ]
    texts += [str(ast.literal_eval(f'"{line}"')) for line in FORMS.split("\n")]
    texts += [left + right for left, right in zip(texts[:40], texts[240:280], strict=True)]
    texts += [text for text in load_texts() if len(text) <= LONGEST_CORPUS_TEXT]
    return list(dict.fromkeys(texts))


def words_of(texts: list[str]) -> Counter[str]:
    folder = unidic_lite.DICDIR
    tagger = fugashi.GenericTagger(f'-d "{folder}" -r "{folder}/mecabrc"')
    return Counter(node.surface for text in texts for node in tagger(text))


def wordpiece_vocabulary(texts: list[str]) -> list[str]:
    """Words that come up, the halves of others, most characters; the rest is unknown."""
    counts = words_of(texts)
    common = sorted(word for word, count in counts.items() if count > 1 and word.isprintable())
    halves = {word[: len(word) // 2] for word in counts} | {f"##{word[len(word) // 2 :]}" for word in counts}
    characters = sorted({character for text in texts[:200] for character in text if not character.isspace()})
    pieces = [*common[::2], *sorted(halves)[::3], *characters, *(f"##{each}" for each in characters[::2])]
    return [*SPECIAL, *dict.fromkeys(piece for piece in pieces if piece.isprintable() and piece not in SPECIAL)]


def train(path: Path, texts: list[str], kind: str, size: int, rule: str, **options: Any) -> None:
    """A SentencePiece model, trained without files, whose names it would hold; each text is one line."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(text.replace("\0", "").split()) for text in texts]), model_writer=model,
        model_type=kind, vocab_size=size, normalization_rule_name=rule, character_coverage=0.98, num_threads=1,
        minloglevel=2, **options,
    )  # fmt: skip
    path.write_bytes(model.getvalue())


def folder_of(name: str, config: dict[str, Any]) -> Path:
    folder = FOLDER / name
    folder.mkdir(parents=True)
    text = json.dumps(config, ensure_ascii=False, indent=1)
    (folder / "tokenizer_config.json").write_text(f"{text}\n", "utf-8")
    return folder


def pairs_of(texts: list[str]) -> list[tuple[int, int]]:
    """Indices of queries and documents, from short to long on either side."""
    draw = random.Random(7)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    long, short = order[-60:], order[: len(order) // 2]
    pairs = [(draw.choice(short), draw.choice(order)) for _ in range(40)]
    return pairs + [(draw.choice(long), draw.choice(order)) for _ in range(30)]


def write_ids(folder: Path, tokenizer: Any, texts: list[str], pairs: list[tuple[int, int]]) -> None:
    """All texts uncut; each pair at each length, the second cut alone where that is possible."""
    ids = [tokenizer(text)["input_ids"] for text in texts]
    asked = [(first, second, length) for first, second in pairs for length in PAIR_LENGTHS]
    made = [_pair(tokenizer, texts[first], texts[second], length) for first, second, length in asked]
    np.savez_compressed(
        folder / "ids.npz",
        ids=_flat(ids),
        lengths=np.array([len(each) for each in ids], np.int32),
        pairs=np.array(asked, np.int32),
        pair_ids=_flat([each for each, _ in made]),
        pair_types=_flat([types for _, types in made]),
        pair_lengths=np.array([len(each) for each, _ in made], np.int32),
    )
    print(f"  {folder.name}: {len(ids)} texts, {len(made)} pairs")


def _flat(rows: list[list[int]]) -> NDArray[np.int16]:
    return np.array([number for row in rows for number in row], np.int16)


def _pair(tokenizer: Any, first: str, second: str, length: int) -> list[list[int]]:
    alone = len(tokenizer(first, second, truncation=False)["input_ids"]) - len(
        tokenizer(second, add_special_tokens=False)["input_ids"]
    )
    how = "only_second" if alone < length else "longest_first"
    made = tokenizer(first, second, truncation=how, max_length=length, return_token_type_ids=True)
    return [made["input_ids"], made["token_type_ids"]]


def write_line(pieces: Path, texts: list[str], pairs: list[tuple[int, int]]) -> None:
    """The form of line-distilbert-base-japanese, which ruri-small has too.

    Its class comes as code beside the model, which is not run. What is public of it is a copy of BertJapaneseTokenizer
    that reads words in small letters; so transformers' own class, told the same, is the reference.
    """
    name = "DistilBertJapaneseTokenizer"
    config = {
        "auto_map": {"AutoTokenizer": [f"distilbert_japanese_tokenizer.{name}", None]},
        "do_lower_case": True,
        "do_subword_tokenize": True,
        "do_word_tokenize": True,
        "jumanpp_kwargs": None,
        "keep_accents": True,
        "mecab_kwargs": {"mecab_dic": "unidic_lite"},
        "never_split": None,
        "remove_space": True,
        "subword_tokenizer_type": "sentencepiece",
        "sudachi_kwargs": None,
        "word_tokenizer_type": "mecab",
    }
    folder = folder_of("line", config | {"tokenizer_class": "BertJapaneseTokenizer"})
    shutil.copyfile(pieces, folder / "spiece.model")
    (folder / "vocab.txt").write_text("", "utf-8")
    write_ids(folder, BertJapaneseTokenizer.from_pretrained(folder, trust_remote_code=False), texts, pairs)
    (folder / "vocab.txt").unlink()
    text = json.dumps(config | {"tokenizer_class": name}, ensure_ascii=False, indent=1)
    (folder / "tokenizer_config.json").write_text(f"{text}\n", "utf-8")


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    texts = japanese_texts()
    (FOLDER / "texts.json").write_text(json.dumps(texts, ensure_ascii=False, indent=0) + "\n", "utf-8")
    pairs = pairs_of(texts)
    japanese = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"}
    vocabulary = "\n".join(wordpiece_vocabulary(texts)) + "\n"

    mecab = {"mecab_dic": "unidic_lite"}
    for name, config in {
        "wordpiece": {"do_lower_case": False, "subword_tokenizer_type": "wordpiece", "mecab_kwargs": mecab},
        "wordpiece-lower": {"do_lower_case": True, "never_split": ["ABC"]},
        "character": {"do_lower_case": False, "subword_tokenizer_type": "character"},
    }.items():
        folder = folder_of(name, japanese | config)
        (folder / "vocab.txt").write_text(vocabulary, "utf-8")
        write_ids(folder, BertJapaneseTokenizer.from_pretrained(folder), texts, pairs)

    folder = folder_of("mecab-spm", japanese | {"subword_tokenizer_type": "sentencepiece"})
    train(
        folder / "spiece.model", [" ".join(words_of([text])) for text in texts], "unigram", 1500, "identity",
        control_symbols=["[CLS]", "[SEP]", "[MASK]"], pad_id=0, unk_id=1, bos_id=-1, eos_id=-1,
        pad_piece="[PAD]", unk_piece="[UNK]",
    )  # fmt: skip
    (folder / "vocab.txt").write_text("", "utf-8")
    write_ids(folder, BertJapaneseTokenizer.from_pretrained(folder), texts, pairs)
    (folder / "vocab.txt").unlink()
    write_line(folder / "spiece.model", texts, pairs)

    for kind, size, rule in (("unigram", 1200, "nmt_nfkc"), ("bpe", 1400, "nmt_nfkc")):
        folder = folder_of(f"mluke-{kind}", {"tokenizer_class": "MLukeTokenizer"})
        train(folder / "sentencepiece.bpe.model", texts, kind, size, rule)
        entities = {"[MASK]": 0, "[UNK]": 1, "[PAD]": 2, "[MASK2]": 3}
        (folder / "entity_vocab.json").write_text(json.dumps(entities), "utf-8")
        write_ids(folder, MLukeTokenizer.from_pretrained(folder), texts, pairs)

    folder = folder_of("fast-roberta", {"tokenizer_class": "XLMRobertaTokenizerFast"})
    train(folder / "sentencepiece.bpe.model", texts, "unigram", 1000, "identity")
    fast = XLMRobertaTokenizerFast(vocab_file=str(folder / "sentencepiece.bpe.model"))
    (folder / "sentencepiece.bpe.model").unlink()
    fast.backend_tokenizer.save(str(folder / "tokenizer.json"))
    write_ids(folder, fast, texts, pairs)

    folder = folder_of("fast-bert", {"tokenizer_class": "BertTokenizerFast"})
    (folder / "vocab.txt").write_text(vocabulary, "utf-8")
    bert = BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), do_lower_case=False)
    (folder / "vocab.txt").unlink()
    bert.backend_tokenizer.save(str(folder / "tokenizer.json"))
    write_ids(folder, bert, texts, pairs)


if __name__ == "__main__":
    main()
