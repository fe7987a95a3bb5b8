"""A job's settings for the requests to one account: key, headers, dialect, fields that its host does not take.

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
"""The names of the rows of `backends/dialects.py` that are servers of Ollama; `HostDialect` has the others."""


class Access(Section):
    """Settings that a provider has for all its accounts, and a member for its own account."""

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
        """Return the settings that `member` leaves out and takes from the provider, by key.

        A member at another address, `elsewhere`, takes no key, no headers and no dialect: it has its own, or none.
        """
        inherited: dict[str, Any] = {}
        if not elsewhere and not (member.api_key_env or member.api_key_command):
            inherited |= {"api_key_env": self.api_key_env, "api_key_command": self.api_key_command}
        if not elsewhere and member.headers_env is None:
            inherited["headers_env"] = self.headers_env
        if member.omit is None:
            inherited["omit"] = self.omit
        if not elsewhere and member.dialect is None:
            inherited["dialect"] = self.dialect
        return inherited
