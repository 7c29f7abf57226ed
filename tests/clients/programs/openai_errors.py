"""The openai package: what a person sees when something is wrong."""

from __future__ import annotations

import os

import openai
from reporting import full_queue, report

MODEL = "all-minilm-l6-v2"


def client(url="SEKISHO_URL", **more):
    return openai.OpenAI(**{"base_url": os.environ[url] + "/v1", "api_key": "unused", "max_retries": 0, **more})


def seen(step):
    """What is known of the exception that `step` raises; None where it raises none."""
    try:
        step()
    except openai.APIStatusError as error:
        return {
            "type": type(error).__name__,
            "types": [kind.__name__ for kind in type(error).__mro__],
            "status": error.status_code,
            "code": error.code,
            "param": error.param,
            "request_id": error.request_id,
            "text": str(error),
            "headers": {name: error.response.headers.get(name) for name in ("retry-after", "retry-after-ms")},
        }
    return None


def wrong(texts="hello", model=MODEL, url="SEKISHO_URL", **more):
    return lambda: seen(lambda: client(url).embeddings.create(input=texts, model=model, **more))


def keyed(key="unused", **more):
    return lambda: seen(lambda: client("KEYED_URL", api_key=key).embeddings.create(input="hello", model=MODEL, **more))


def queue_full():
    with full_queue(os.environ["TINY_URL"], int(os.environ["TINY_QUEUE"])):
        return wrong(url="TINY_URL")()


report(
    {
        "empty list": wrong([]),
        "dimensions": wrong(dimensions=100),
        "too many dimensions": wrong(model="minilm-cut", dimensions=500),
        "input_type": wrong(extra_body={"input_type": "question"}),
        "no such prompt": wrong(model="minilm-prompts", extra_body={"input_type": "classification"}),
        "too long": wrong("word " * 300, extra_body={"truncate": False}),
        "foreign token id": wrong([15339, 150_000]),
        "no key": keyed(extra_headers={"Authorization": openai.Omit()}),
        "wrong key": keyed("sk-wrong"),
        "unknown model": wrong(model="all-minilm-l6"),
        "unknown model id": lambda: seen(lambda: client().models.retrieve("BAAI/bge-m3")),
        "large body": wrong("word " * 100_000, url="TINY_URL"),
        "many tokens": wrong(["word " * 250] * 200, url="TINY_URL"),
        "queue full": queue_full,
        "unreachable model": wrong(model="unreachable"),
    }
)
