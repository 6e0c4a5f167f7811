"""Every setting: its name, default, unit and reason. From the environment as `HOLDFAST_<NAME>`, or given in code."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from holdfast.domain import limits


def expanded(url: str) -> str:
    """`~` in a SQLite path is the user's home, for everybody who opens the URL."""
    return url.replace("sqlite:///~", f"sqlite:///{Path.home()}", 1) if url.startswith("sqlite:///~/") else url


class Settings(BaseSettings):
    """Configuration of one process. Arguments win over the environment."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", extra="forbid", frozen=True)

    database: str = Field(
        "sqlite:///holdfast.db",
        description="Where everything is kept: `sqlite:///path` or `postgresql://user:password@host/name`.",
    )

    @field_validator("database")
    @classmethod
    def _expanded(cls, url: str) -> str:
        return expanded(url)

    mode: Literal["dev", "serve"] = Field(
        "dev",
        description="`dev` migrates the database at start; `serve` refuses to start unless `holdfast migrate` has run.",
    )
    worker_slots: int = Field(
        limits.WORKER_SLOTS, ge=0, le=10_000, description="How many runs of this process move at once; 0: API only."
    )
    lease_ms: int = Field(
        limits.LEASE_MS,
        ge=500,
        le=600_000,
        description="How long a silent worker keeps its runs, ms. Shorter recovers sooner and writes more.",
    )
    drain_ms: int = Field(
        limits.DRAIN_MS, ge=0, le=3_600_000, description="How long a stopping process waits for tools in flight, ms."
    )
    body_bytes_max: int = Field(
        limits.BODY_BYTES_MAX, ge=1_024, le=1 << 30, description="The largest request body that is read, bytes."
    )
    postgres_pool: int = Field(
        limits.POSTGRES_POOL, ge=2, le=1_000, description="Connections for requests, besides four for the engine."
    )
    sandbox_tenant: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9_-]{0,62}$",
        description="Name of the tenant in which live replays act, such as `sandbox`; without one there are none.",
    )

    @field_validator("sandbox_tenant")
    @classmethod
    def _not_default(cls, name: str | None) -> str | None:
        if name == "default":
            raise ValueError("default is the tenant of your own runs: a sandbox is another one")
        return name

    require_auth: bool = Field(False, description="Demand an API key from loopback too, even before one exists.")
    pepper: SecretStr | None = Field(
        None,
        description="Secret that API keys are hashed with. On SQLite one is made beside the database if none is given.",
    )
    ui: bool = Field(True, description="Serve the control plane, at `/ui/`.")
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="The path under which a proxy serves this, such as `/agents`, if it takes that off before it asks.",
    )
    freeze_gc: bool = Field(
        True, description="Freeze what is loaded at start out of garbage collection: shorter pauses under load."
    )
