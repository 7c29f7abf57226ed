"""A litellm proxy in a process of its own, in front of the servers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.clients.environments import python_of
from tests.clients.servers import KEY, MODEL, RERANKER, STRICT, Servers

#: The program that needs it.
PROXIED = "litellm_proxy.py"
MASTER_KEY = "sk-of-the-proxy"

#: It imports a great deal.
_PATIENCE_SECONDS = 90


def configuration(servers: Servers) -> dict[str, Any]:
    """The models of the proxy: one server's model under several of litellm's providers, and other servers."""

    def model(name: str, provider: str, of: str, url: str, key: str = "unused") -> dict[str, Any]:
        return {"model_name": name, "litellm_params": {"model": f"{provider}/{of}", "api_base": url, "api_key": key}}

    return {
        "model_list": [
            model("vectors", "openai", MODEL, f"{servers.open}/v1"),
            model("vectors-by-vllm", "hosted_vllm", MODEL, f"{servers.open}/v1"),
            model("reranker-by-vllm", "hosted_vllm", RERANKER, servers.open),
            model("reranker-by-cohere", "cohere", RERANKER, servers.open),
            model("reranker-by-jina", "jina_ai", RERANKER, servers.open),
            model("keyed", "openai", MODEL, f"{servers.keyed}/v1", KEY),
            model("wrong-key", "openai", MODEL, f"{servers.keyed}/v1", "none"),
            model("misspelt", "openai", "no-such-model", f"{servers.open}/v1"),
            model(STRICT, "openai", STRICT, f"{servers.open}/v1"),
            model("busy", "openai", MODEL, f"{servers.tiny}/v1"),
        ],
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "general_settings": {"master_key": MASTER_KEY},
    }


@contextmanager
def proxying(directory: Path, servers: Servers) -> Iterator[str]:
    """The base URL of a proxy; what it logs is in `directory`. Raises EnvironmentMissing."""
    program = python_of("litellm").with_name("litellm")
    config = directory / "config.yaml"
    config.write_text(json.dumps(configuration(servers)), "utf-8")  # JSON is YAML
    port = _free_port()
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    environment |= {"HOME": str(directory), "LANG": "C.UTF-8", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    log = directory / "log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [program, "--config", config, "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"],
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_alive(process, url, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_alive(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    patience = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < patience and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health/liveliness", timeout=10):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the proxy did not start:\n{log.read_text('utf-8', 'replace')[-4000:]}")
