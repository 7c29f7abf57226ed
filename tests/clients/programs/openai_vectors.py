"""The openai package: everything that succeeds."""

from __future__ import annotations

import asyncio
import os

import openai
from reporting import full_queue, pack, report, task

MODEL = "all-minilm-l6-v2"
given = task()
url = os.environ["SEKISHO_URL"]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)


def create(texts, model=MODEL, **more):
    return told(client.embeddings.create(input=texts, model=model, **more))


def told(answer):
    return {
        "vectors": pack([item.embedding for item in answer.data]),
        "indices": [item.index for item in answer.data],
        "objects": sorted({answer.object, *(item.object for item in answer.data)}),
        "model": answer.model,
        "prompt_tokens": answer.usage.prompt_tokens,
        "total_tokens": answer.usage.total_tokens,
    }


def in_parallel(texts):
    async def run():
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as parallel:
            answers = await asyncio.gather(*(parallel.embeddings.create(input=text, model=MODEL) for text in texts))
        return {"vectors": pack([answer.data[0].embedding for answer in answers])}

    return asyncio.run(run())


def listed():
    return [model.model_dump() for model in client.models.list()]


def with_key():
    keyed = openai.OpenAI(base_url=os.environ["KEYED_URL"] + "/v1", api_key=os.environ["KEY"], max_retries=0)
    return told(keyed.embeddings.create(input=given["text"], model=MODEL))


def without_v1():
    return told(openai.OpenAI(base_url=url, api_key="unused").embeddings.create(input=given["text"], model=MODEL))


def retried():
    """The queue is full at first and empties; the package waits as `retry-after-ms` says and asks again."""
    patient = openai.OpenAI(base_url=os.environ["TINY_URL"] + "/v1", api_key="unused", max_retries=3)
    with full_queue(os.environ["TINY_URL"], int(os.environ["TINY_QUEUE"]), until_refused=True):
        raw = patient.embeddings.with_raw_response.create(input=given["text"], model=MODEL)
    return {"retries": raw.retries_taken, **told(raw.parse())}


report(
    {
        "string": lambda: create(given["text"]),
        "list": lambda: create(given["texts"]),
        "float": lambda: create(given["texts"], encoding_format="float"),
        "flat token ids": lambda: create(given["token_ids"][0]),
        "nested token ids": lambda: create(given["token_ids"]),
        "dimensions": lambda: create(given["few"], "minilm-cut", dimensions=128),
        "query": lambda: create(given["few"], "minilm-prompts", extra_body={"input_type": "query"}),
        "document": lambda: create(given["few"], "minilm-prompts", extra_body={"input_type": "document"}),
        "empty": lambda: create(""),
        "empty in a list": lambda: create(["", given["text"]]),
        "thousand": lambda: create(given["thousand"]),
        "parallel": lambda: in_parallel(given["few"]),
        "models": listed,
        "model": lambda: client.models.retrieve(MODEL).model_dump(),
        "model by hub id": lambda: client.models.retrieve("sentence-transformers/all-MiniLM-L6-v2").model_dump(),
        "key": with_key,
        "without /v1": without_v1,
        "retried": retried,
    }
)
