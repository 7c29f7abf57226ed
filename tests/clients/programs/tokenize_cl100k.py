"""tiktoken: texts to cl100k_base ids, as LangChain makes them before it sends."""

from __future__ import annotations

import tiktoken
from reporting import report, task

encoding = tiktoken.get_encoding("cl100k_base")
report({"ids": lambda: [encoding.encode_ordinary(text) for text in task()]})
