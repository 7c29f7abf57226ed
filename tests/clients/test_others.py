"""infinity_client, huggingface_hub's InferenceClient, and the README's curl lines."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from tests.clients.conftest import ReportFor
from tests.clients.rows import KEY, PROMPTS, RANKED, RETURNED, VECTORS, check, checks
from tests.clients.servers import DOCUMENT_PROMPT, QUERY_PROMPT, Servers, answer_of
from tests.clients.values import (
    FEW,
    TEXTS,
    assert_prefixed,
    assert_ranked,
    assert_same,
    golden_tokens,
    golden_vectors,
    value_of,
    vectors_of,
)
from tests.conftest import REPOSITORY

HUBS = ("hub2", "hub1")
INFINITY, INFINITY_RANK = "infinity-embeddings", "infinity-rerank"


@checks(VECTORS, INFINITY, *HUBS)
def test_vectors(client: str, report_for: ReportFor) -> None:
    value = value_of(report_for(client), "texts")
    assert_same(vectors_of(value), golden_vectors(TEXTS))
    if client == INFINITY:
        assert value["indices"] == list(range(len(TEXTS)))
        assert value["tokens"] == golden_tokens(TEXTS)


@checks("one string: a table of one row", *HUBS)
def test_string(client: str, report_for: ReportFor) -> None:
    value = value_of(report_for(client), "string")
    assert value["shape"] == [1, 384]
    assert_same(vectors_of(value), golden_vectors(FEW[:1]))


@checks("/embed in place of the bare address", *HUBS)
def test_embed(client: str, report_for: ReportFor) -> None:
    assert_same(vectors_of(value_of(report_for(client), "embed")), golden_vectors(FEW))


@checks(PROMPTS, *HUBS)
@pytest.mark.parametrize(("kind", "prompt"), [("query", QUERY_PROMPT), ("document", DOCUMENT_PROMPT)])
def test_prompts(client: str, report_for: ReportFor, servers: Servers, kind: str, prompt: str) -> None:
    """Through `prompt_name`, to a model named in the address."""
    assert_prefixed(value_of(report_for(client), kind), servers.open, prompt)


@checks("truncate", *HUBS)
def test_truncate(client: str, report_for: ReportFor, servers: Servers) -> None:
    """A text that is too long gives the vector of its beginning: 256 tokens, two of them special."""
    cut = vectors_of(value_of(report_for(client), "truncated"))
    plain = answer_of(servers.open, "/v1/embeddings", {"input": "word " * 254})
    assert_same(cut, np.array([plain["data"][0]["embedding"]], np.float32))


@checks(KEY, INFINITY, *HUBS)
def test_keys(client: str, report_for: ReportFor) -> None:
    assert_same(vectors_of(value_of(report_for(client), "keyed")), golden_vectors(FEW))


@check(RANKED, INFINITY_RANK)
def test_rerank(report_for: ReportFor) -> None:
    value = value_of(report_for(INFINITY_RANK), "rerank")
    assert_ranked(value, texts=False)
    assert value["tokens"] > 0


@check(RETURNED, INFINITY_RANK)
def test_documents_are_returned(report_for: ReportFor) -> None:
    """Below /infinity, where a document is a plain string."""
    assert_ranked(value_of(report_for(INFINITY_RANK), "returned"), texts=True)


@check(KEY, INFINITY_RANK)
def test_rerank_with_a_key(report_for: ReportFor) -> None:
    assert_ranked(value_of(report_for(INFINITY_RANK), "keyed rerank"))


@check("the README's lines: the same vectors on every path", "curl")
def test_readme(servers: Servers) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    page = (REPOSITORY / "README.md").read_text("utf-8")
    blocks = re.findall(r"^<!-- tested -->\n```bash\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    printed = [_curl(block, servers.open) for block in blocks if block.startswith("curl") and "embed" in block]
    answers = [json.loads(answer) for text in printed for answer in re.sub(r"}\s*{", "}\n{", text).splitlines()]
    openai, embed, one = answers
    vectors = np.array([item["embedding"] for item in openai["data"]], np.float32)
    plain = answer_of(servers.open, "/v1/embeddings", {"input": ["動的計画法", "グラフ理論"]})
    assert_same(vectors, np.array([item["embedding"] for item in plain["data"]], np.float32))
    assert_same(np.array(embed["vectors"], np.float32), vectors)
    assert_same(np.array([one["vector"]], np.float32), vectors[:1])


def _curl(block: str, url: str) -> str:
    command = "set -e\n" + block.replace("http://127.0.0.1:8000", url).replace("curl ", "curl -sS --fail-with-body ")
    done = subprocess.run(["bash", "-c", command], capture_output=True, encoding="utf-8", timeout=60, check=True)
    return done.stdout
