"""What a program of the client tests shares: it reads its task as JSON, does it, and prints what it got as JSON.

Runs in a client's own environment, on the standard library alone.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import sys
import threading
import time
import traceback
import urllib.request
from array import array
from contextlib import contextmanager
from types import SimpleNamespace
from urllib.parse import urlsplit

#: Models of the registry that tests/clients/servers.py writes; the strict ones refuse texts that are too long.
MODEL, STRICT = "all-minilm-l6-v2", "minilm-strict"
RERANKER, STRICT_RERANKER = "tiny-reranker", "tiny-reranker-strict"


def task():
    """What the test wants done."""
    return json.load(sys.stdin)


def report(steps):
    """Do each step, a function without arguments, and print what it returns; one that raises spoils no other."""
    results = {}
    for name, step in steps.items():
        try:
            results[name] = {"value": step()}
        except Exception:
            results[name] = {"raised": traceback.format_exc()}
    json.dump(results, sys.stdout)


def pack(vectors):
    """Vectors as the float32 they were on the wire, bit for bit."""
    flat = array("f", [number for vector in vectors for number in vector])
    if sys.byteorder == "big":
        flat.byteswap()
    return {"rows": len(vectors), "float32": base64.b64encode(flat.tobytes()).decode("ascii")}


def failures(use, of, *, ranks=False, leave_out=()):
    """Steps, `<of>: error: <what>`: what a person sees of what can go wrong.

    `use` does one request, as it is told by `url`, `key` (None: none), `model` and `texts` (documents, where it
    `ranks`). Where `strict` is not None a text that is too long has to be refused: by the client's own parameter
    where it has one, else by the model of that name.
    """
    usual = {
        "url": os.environ["SEKISHO_URL"],
        "key": "unused",
        "model": RERANKER if ranks else MODEL,
        "texts": ["hello", "goodbye"],
        "strict": None,
    }
    wrong = {
        "unknown model": {"model": "no-such-model"},
        "empty input": {"texts": []},
        "too long": {"texts": ["word " * 300], "strict": STRICT_RERANKER if ranks else STRICT},
        "missing key": {"url": os.environ["KEYED_URL"], "key": None},
        "overload": {"url": os.environ["TINY_URL"], "model": MODEL},
    }

    def step(name):
        def attempt():
            return seen(lambda: use(SimpleNamespace(**(usual | wrong[name]))))

        return lambda: _overloaded(attempt) if name == "overload" else attempt()

    return {f"{of}: error: {name}": step(name) for name in wrong if name not in leave_out}


def _overloaded(attempt):
    for _ in range(3):
        with full_queue(os.environ["TINY_URL"], int(os.environ["TINY_QUEUE"])):
            found = attempt()
        if found["type"] is not None:
            break
    return found


def seen(step):
    """The exception that `step` raises, as the last line of a traceback has it; type None where it raises none."""
    try:
        value = step()
    except Exception as error:
        return {"type": type(error).__name__, "text": str(error)}
    return {"type": None, "text": repr(value)[:200]}


@contextmanager
def full_queue(url, limit, *, until_refused=False):
    """More than `limit` tokens wait in the server's queue: a client with a large request hangs on, and others come as
    it empties, however long the block takes to ask.

    until_refused: they hang up as soon as the server has refused somebody, not at the end of the block.
    """
    refused = _metric(url, "sekisho_refused_total")
    connections = [_large_request(url)]
    _wait(lambda: _metric(url, "sekisho_queue_tokens") > limit)
    over = threading.Event()

    def keep_full():
        # A large request that finds an empty queue is let in; beside others it would be refused itself.
        least = 0 if until_refused else limit
        while not over.wait(0.01):
            if until_refused and _metric(url, "sekisho_refused_total") > refused:
                break
            if _metric(url, "sekisho_queue_tokens") <= least:
                connections.append(_large_request(url))
        for connection in connections:
            connection.close()

    filling = threading.Thread(target=keep_full, daemon=True)
    filling.start()
    try:
        yield
    finally:
        over.set()
        filling.join()
        _wait(lambda: not _metric(url, "sekisho_queue_tokens"))


def _large_request(url):
    """A connection that has asked for much and not yet read the answer."""
    body = json.dumps({"input": [f"{number} " + "word " * 250 for number in range(120)]})
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    connection.request("POST", "/v1/embeddings", body, {"content-type": "application/json"})
    return connection


def _wait(condition):
    patience = time.monotonic() + 30
    while not condition():
        if time.monotonic() > patience:
            raise TimeoutError("waited in vain for the queue")
        time.sleep(0.01)


def _metric(url, name):
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{"))
