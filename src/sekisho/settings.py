"""Settings: the only reader of the environment.

Every field is an environment variable with the prefix `SEKISHO_` (a `.env` file is read too) and a flag of `sekisho
serve`. Names that users of earlier services already have are honoured, lower in rank.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_cache_path
from pydantic import AliasChoices, Field, SecretStr, create_model, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

EngineName = Literal["auto", "onnxruntime", "openvino"]

MIB = 1024 * 1024
_DEVICE = re.compile(r"auto|cpu|coreml|(cuda|migraphx|rocm)(:\d{1,3})?")


class Settings(BaseSettings):
    """One value per knob; see the table in the README, which a test holds complete."""

    model_config = SettingsConfigDict(
        env_prefix="SEKISHO_", env_file=".env", extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    host: str = Field(
        "127.0.0.1", validation_alias=AliasChoices("SEKISHO_HOST", "HOST"), description="Address to listen on"
    )
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("SEKISHO_PORT", "PORT", "APP_PORT"),
        description="Port to listen on; 0: a free one",
    )
    models: Path | None = Field(None, description="Registry file; default: ./models.yaml, else the shipped one")
    embedding_model: str | None = Field(
        None,
        validation_alias=AliasChoices("SEKISHO_EMBEDDING_MODEL", "EMBEDDING_MODEL_NAME"),
        description="The embedding model of a request that names none, in place of the registry's",
    )
    reranker_model: str | None = Field(
        None,
        validation_alias=AliasChoices("SEKISHO_RERANKER_MODEL", "RERANKER_MODEL_NAME"),
        description="The reranker of a request that names none, in place of the registry's",
    )
    max_length: int | None = Field(
        None,
        ge=8,
        validation_alias=AliasChoices("SEKISHO_MAX_LENGTH", "MAX_LENGTH"),
        description="Most tokens of one text, for models that would read more",
    )
    model_path: Path | None = Field(
        None,
        validation_alias=AliasChoices("SEKISHO_MODEL_PATH", "MODEL_PATH"),
        description="An ONNX graph of your own, served as `default`",
    )
    tokenizer_path: Path | None = Field(
        None,
        validation_alias=AliasChoices("SEKISHO_TOKENIZER_PATH", "TOKENIZER_PATH"),
        description="Its tokenizer.json, or the directory with it",
    )
    home: Path = Field(
        default_factory=lambda: user_cache_path("sekisho"),
        validation_alias=AliasChoices("SEKISHO_HOME", "RERANKER_MODELS_DIR"),
        description="Prepared models live here",
    )
    offline: bool = Field(
        False,
        validation_alias=AliasChoices("SEKISHO_OFFLINE", "HF_HUB_OFFLINE"),
        description="Fetch no file of any model; only services that the registry names are called",
    )
    engine: EngineName = Field("auto", description="onnxruntime, openvino, or the better one for this CPU")
    device: str = Field(
        "auto",
        description="cpu, cuda, cuda:1, migraphx (rocm), coreml, or the best that can be used",
    )
    device_memory_mib: int | None = Field(
        None, ge=64, description="Most memory of a CUDA card for what models compute, weights apart; default: all of it"
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads for inference, in each worker; default: what the cgroup allows"
    )
    tune: Literal["auto", "off"] = Field(
        "auto", description="auto: a model's lanes are measured once on this machine, in a few seconds; off: by a rule"
    )
    workers: int = Field(
        1,
        ge=1,
        validation_alias=AliasChoices("SEKISHO_WORKERS", "WORKERS"),
        description="Server processes, each with cores of its own",
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Accepted API keys, comma separated; as a flag they show in `ps`"
    )
    anonymous: bool = Field(False, description="Allow a public bind without any key")
    max_body_mib: float = Field(32, gt=0, allow_inf_nan=False, description="Largest request body, in MiB")
    max_request_tokens: int = Field(4_000_000, ge=1, description="Most tokens one request may hold")
    max_queue_tokens: int = Field(8_000_000, ge=1, description="Most tokens waiting in one model's queue")
    batch_tokens: int | None = Field(
        None, ge=16, description="Tokens run at once; default: 1024 on a CPU, 16384 on a card"
    )
    cache_mib: float = Field(
        64, ge=0, allow_inf_nan=False, description="Memory for results that are kept, in MiB; 0: none is"
    )
    cache_seconds: int = Field(86_400, ge=1, le=31_536_000, description="How old a kept result may be")
    redis_url: SecretStr | None = Field(
        None, description="A Redis that several servers share results in (redis://…); as a flag it shows in `ps`"
    )
    load_retry_seconds: float = Field(5, ge=0, allow_inf_nan=False, description="How long a failed load is remembered")
    drain_seconds: float = Field(
        25, ge=0, allow_inf_nan=False, description="How long running requests may finish after SIGTERM"
    )
    log_format: Literal["console", "json"] = Field("console", description="console or json")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning or error")

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        return tuple(key for part in value.split(",") if (key := part.strip())) if isinstance(value, str) else value

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        if _DEVICE.fullmatch(value) is None:
            raise ValueError("auto, cpu, cuda, cuda:1, migraphx, rocm or coreml is expected")
        return value

    @property
    def max_body_bytes(self) -> int:
        return int(self.max_body_mib * MIB)


def visible_cards() -> str | None:
    """CUDA_VISIBLE_DEVICES: which cards NVIDIA's driver shows this process. Empty hides all; None: it is not set."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


class _Secret(BaseSettings):
    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True, case_sensitive=True)


def secret(name: str) -> SecretStr | None:
    """A variable that the registry names, such as the key of an upstream; None where it is not set, or empty."""
    reader = create_model("_Named", __base__=_Secret, value=(SecretStr | None, Field(None, validation_alias=name)))
    value: SecretStr | None = reader(_env_file=Settings.model_config["env_file"]).model_dump()["value"]
    return value
