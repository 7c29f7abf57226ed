"""A load generator that costs as little as it can, run as a process of its own: raw HTTP/1.1 over asyncio streams.

Reads a JSON plan from stdin, prints a JSON report: seconds, latencies in milliseconds, its own CPU seconds.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Plan:
    """texts are sent `per_request` at a time over `connections` keep-alive connections."""

    host: str
    port: int
    texts: list[str]
    per_request: int
    connections: int


def _request(texts: list[str], *, single: bool) -> bytes:
    body = json.dumps({"input": texts[0] if single else texts, "encoding_format": "base64"}).encode()
    head = (
        "POST /v1/embeddings HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    if not head.startswith("http/1.1 200"):
        raise RuntimeError(head.splitlines()[0])
    length = next(line.split(":")[1] for line in head.splitlines() if line.startswith("content-length:"))
    await reader.readexactly(int(length))


async def _run(plan: Plan) -> dict[str, Any]:
    size = plan.per_request
    groups = [plan.texts[at : at + size] for at in range(0, len(plan.texts), size)]
    requests = iter([_request(group, single=size == 1) for group in groups])
    latencies: list[float] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(plan.host, plan.port, limit=1 << 22)
        for request in requests:
            began = time.perf_counter()
            await _exchange(reader, writer, request)
            latencies.append((time.perf_counter() - began) * 1000)
        writer.close()

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(plan.connections)))
    seconds = time.perf_counter() - began
    latencies.sort()
    return {
        "seconds": seconds,
        "p50_ms": latencies[len(latencies) // 2],
        "p99_ms": latencies[int(len(latencies) * 0.99)],
        "client_cpu_seconds": time.process_time() - cpu,
    }


def send(plan: Plan) -> dict[str, Any]:
    """Run a plan in a fresh process and return its report."""
    command = [sys.executable, "-m", "benchmarks.client"]
    done = subprocess.run(command, input=json.dumps(asdict(plan)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr[-500:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(Plan(**json.load(sys.stdin))))))
