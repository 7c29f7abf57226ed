"""The environment as values: names, ranks, limits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from platformdirs import user_cache_path
from pydantic import ValidationError

from sekisho.settings import Settings, visible_cards


def test_defaults_are_for_this_machine_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().home == home
    monkeypatch.delenv("SEKISHO_HOME")
    settings = Settings()
    assert settings.host == "127.0.0.1"
    assert settings.port == 8000
    assert settings.home == user_cache_path("sekisho")
    assert settings.models is None
    assert not settings.offline
    assert not settings.anonymous
    assert settings.api_keys == ()
    assert settings.max_body_bytes == 32 * 1024 * 1024


ENVIRONMENT = {
    "host": "::1",
    "port": "9001",
    "models": "other.yaml",
    "embedding_model": "ruri-v3-30m",
    "reranker_model": "bge-reranker-v2-m3",
    "max_length": "256",
    "model_path": "model_int8.onnx",
    "tokenizer_path": "tokenizer",
    "home": "/elsewhere",
    "offline": "true",
    "engine": "openvino",
    "device": "cuda:1",
    "device_memory_mib": "8192",
    "threads": "3",
    "tune": "auto",
    "workers": "3",
    "api_keys": "one",
    "anonymous": "1",
    "max_body_mib": "0.5",
    "max_request_tokens": "10",
    "max_queue_tokens": "20",
    "batch_tokens": "64",
    "cache_mib": "0.5",
    "cache_seconds": "60",
    "redis_url": "redis://127.0.0.1",
    "load_retry_seconds": "0",
    "drain_seconds": "1.5",
    "log_format": "json",
    "log_level": "debug",
}


def test_every_field_is_in_the_table_of_this_test() -> None:
    assert set(ENVIRONMENT) == set(Settings.model_fields)


@pytest.mark.parametrize(("field", "value"), ENVIRONMENT.items())
def test_every_field_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch, field: str, value: str) -> None:
    before = getattr(Settings(), field)
    monkeypatch.setenv(f"SEKISHO_{field.upper()}", value)
    after = getattr(Settings(), field)
    assert after != before
    if field not in {"api_keys", "redis_url"}:
        assert str(after).lower() in {value, "true", f"{value}.0"}


@pytest.mark.parametrize(
    ("name", "value", "field", "expected", "own", "owned"),
    [
        ("HOST", "::1", "host", "::1", "127.0.0.2", "127.0.0.2"),
        ("PORT", "81", "port", 81, "91", 91),
        ("APP_PORT", "82", "port", 82, "91", 91),
        ("HF_HUB_OFFLINE", "1", "offline", True, "false", False),
        ("EMBEDDING_MODEL_NAME", "BAAI/bge-m3", "embedding_model", "BAAI/bge-m3", "ruri-v3-30m", "ruri-v3-30m"),
        ("RERANKER_MODEL_NAME", "a/b", "reranker_model", "a/b", "c", "c"),
        ("RERANKER_MODELS_DIR", "/app/models", "home", Path("/app/models"), "/mine", Path("/mine")),
        ("WORKERS", "2", "workers", 2, "3", 3),
        ("MAX_LENGTH", "256", "max_length", 256, "128", 128),
        ("MODEL_PATH", "a.onnx", "model_path", Path("a.onnx"), "b.onnx", Path("b.onnx")),
        ("TOKENIZER_PATH", "a", "tokenizer_path", Path("a"), "b", Path("b")),
    ],
)
def test_names_of_earlier_services_are_honoured_lower_in_rank(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str, expected: object, own: str, owned: object
) -> None:
    monkeypatch.delenv(f"SEKISHO_{field.upper()}", raising=False)
    monkeypatch.setenv(name, value)
    assert getattr(Settings(), field) == expected
    monkeypatch.setenv(f"SEKISHO_{field.upper()}", own)
    assert getattr(Settings(), field) == owned


def test_port_goes_before_app_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_PORT", "82")
    monkeypatch.setenv("PORT", "81")
    assert Settings().port == 81
    monkeypatch.setenv("SEKISHO_PORT", "80")
    assert Settings().port == 80


def test_a_flag_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEKISHO_PORT", "80")
    monkeypatch.setenv("SEKISHO_ENGINE", "openvino")
    settings = Settings(port=90, engine="onnxruntime")
    assert (settings.port, settings.engine) == (90, "onnxruntime")


def test_an_empty_variable_is_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As compose files write `${NAME:-}`."""
    for name in ("SEKISHO_PORT", "SEKISHO_API_KEYS", "SEKISHO_THREADS", "SEKISHO_MODELS", "SEKISHO_OFFLINE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PORT", "81")
    settings = Settings()
    assert (settings.port, settings.api_keys, settings.threads, settings.models) == (81, (), None, None)
    assert not settings.offline


@pytest.mark.parametrize(
    ("written", "keys"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" a , b ,", ["a", "b"]),
        (",,", []),
        ('["a"]', ['["a"]']),
        ("a=b c", ["a=b c"]),
    ],
)
def test_keys_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch, written: str, keys: list[str]) -> None:
    monkeypatch.setenv("SEKISHO_API_KEYS", written)
    assert [key.get_secret_value() for key in Settings().api_keys] == keys


def test_keys_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEKISHO_API_KEYS", "sk-very-secret")
    settings = Settings()
    assert "very-secret" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_the_password_of_a_redis_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEKISHO_REDIS_URL", "redis://:very-secret@127.0.0.1")
    settings = Settings()
    assert "very-secret" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("ENGINE", "tensorrt"),
        ("THREADS", "0"),
        ("MAX_BODY_MIB", "0"),
        ("MAX_BODY_MIB", "nan"),
        ("MAX_BODY_MIB", "inf"),
        ("DRAIN_SECONDS", "inf"),
        ("DRAIN_SECONDS", "-1"),
        ("LOAD_RETRY_SECONDS", "inf"),
        ("BATCH_TOKENS", "15"),
        ("CACHE_MIB", "-1"),
        ("CACHE_MIB", "inf"),
        ("CACHE_SECONDS", "0"),
        ("MAX_LENGTH", "7"),
        ("MAX_QUEUE_TOKENS", "0"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "loud"),
        ("OFFLINE", "perhaps"),
    ],
)
def test_a_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"SEKISHO_{name}", value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert name in str(caught.value.errors()[0]["loc"]).upper()


def test_other_variables_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEKISHO_SOMETHING_ELSE", "1")
    monkeypatch.setenv("ENGINE", "nonsense")
    monkeypatch.setenv("THREADS", "nonsense")
    assert Settings().engine == "auto"


def test_a_dotenv_file_is_read_below_the_environment(tmp_path: Path) -> None:
    """In a process of its own: tests read none."""
    (tmp_path / ".env").write_text("SEKISHO_PORT=8101\nSEKISHO_THREADS=2\nSEKISHO_HOME=/from/file\nOTHER=1\n")
    program = "from sekisho.settings import Settings, visible_cards; import json; s = Settings()\n"
    program += "print(json.dumps([s.port, s.threads, str(s.home)]))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={"SEKISHO_PORT": "8102"}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == [8102, 2, "/from/file"]


@pytest.mark.parametrize("value", ["gpu", "cuda:", "cuda:x", "cpu:0", "coreml:1", "CUDA", "mps", " cuda"])
def test_a_device_that_is_none_is_refused_with_those_there_are(value: str) -> None:
    with pytest.raises(ValidationError, match="auto, cpu, cuda, cuda:1, migraphx, rocm or coreml is expected"):
        Settings(device=value)


@pytest.mark.parametrize("value", [None, "", "0,1"])
def test_which_cards_are_visible_is_told_apart_from_none_set(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_cards() == value
