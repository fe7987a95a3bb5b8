"""How an account at a host is spoken to, as a job says it: key, headers, dialect, fields its host does not take.

Must not know: where keys are read, how requests are sent.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from eli5b_batch.job.values import HeaderVariables, KeyCommand, KeyVariable, Section

HostDialect = Literal[
    "openai",
    "azure",
    "mistral",
    "gemini",
    "vertex",
    "openrouter",
    "together",
    "deepinfra",
    "novita",
    "deepseek",
    "groq",
    "vllm",
    "llama_server",
    "plain",
]
OllamaDialect = Literal["ollama_before_0_12_6", "ollama_0_12_6", "ollama_0_12_11", "ollama_0_17_7"]
"""The rows of `backends/dialects.py`, by the protocol they speak."""


class Access(Section):
    """What a provider says for all its accounts, and a member for itself."""

    api_key_env: KeyVariable | None = Field(None, description="Environment variable that holds the key.")
    api_key_command: KeyCommand | None = Field(
        None, description="Program that prints the key, and its arguments; run when a key is needed, never by a shell."
    )
    headers_env: HeaderVariables | None = Field(
        None, description="Further headers of every request: header name -> environment variable that holds its value."
    )
    dialect: HostDialect | None = Field(
        None, description="How the host speaks, where its address and its list of models tell it wrongly or not at all."
    )
    omit: list[str] | None = Field(
        None, description="Fields that are not sent to this host, such as seed; they stay part of the question."
    )

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.api_key_env and self.api_key_command:
            raise ValueError("give api_key_env or api_key_command, not both: an account has one key")
        return self

    def inherited_by(self, member: Access, *, elsewhere: bool) -> dict[str, Any]:
        """What `member` leaves out, by key. Nothing secret goes to a host `elsewhere`: it has its own, or none."""
        given: dict[str, Any] = {}
        if not elsewhere and not (member.api_key_env or member.api_key_command):
            given |= {"api_key_env": self.api_key_env, "api_key_command": self.api_key_command}
        if not elsewhere and member.headers_env is None:
            given["headers_env"] = self.headers_env
        if member.omit is None:
            given["omit"] = self.omit
        if not elsewhere and member.dialect is None:
            given["dialect"] = self.dialect
        return given
