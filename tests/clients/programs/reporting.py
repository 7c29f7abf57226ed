"""What a program of the client tests shares: it reads its task as JSON, does it, and prints what it got as JSON.

Runs in a client's own environment, on the standard library alone.
"""

from __future__ import annotations

import base64
import http.client
import json
import sys
import threading
import time
import traceback
import urllib.request
from array import array
from contextlib import contextmanager
from urllib.parse import urlsplit


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


@contextmanager
def full_queue(url, limit, *, until_refused=False):
    """While this lasts, more than `limit` tokens wait in the server's queue: a client with a large request hangs on.

    until_refused: it hangs up as soon as the server has refused somebody, not at the end of the block.
    """
    body = json.dumps({"input": [f"{number} " + "word " * 250 for number in range(120)]})
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    refused = _metric(url, "sekisho_refused_total")
    connection.request("POST", "/v1/embeddings", body, {"content-type": "application/json"})
    _wait(lambda: _metric(url, "sekisho_queue_tokens") > limit)

    def hang_up():
        _wait(lambda: _metric(url, "sekisho_refused_total") > refused)
        connection.close()

    watching = threading.Thread(target=hang_up, daemon=True)
    if until_refused:
        watching.start()
    try:
        yield
    finally:
        if until_refused:
            watching.join()
        connection.close()
        _wait(lambda: not _metric(url, "sekisho_queue_tokens"))


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
