"""explain.py: the validation errors of pydantic, explained in the words of somebody who writes a job file."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from eli5b_batch.job.explain import explain, kind_of, nearest
from eli5b_batch.job.values import Section


class Inner(Section):
    size: int
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    day: Annotated[dt.date, Field(strict=False)] | None = None


class Red(Section):
    api: Literal["red"]
    inner: Inner


class Blue(Section):
    api: Literal["blue"]


class Outer(Section):
    inner: Inner | Literal["none"] | None = None
    many: list[Inner] = Field(default_factory=list)
    named: dict[str, Annotated[Red | Blue, Field(discriminator="api")]] = Field(default_factory=dict)
    switch: bool = False
    word: Literal["north", "south"] = "north"


def explanation(tree: dict[str, Any], prefix: str = "") -> str:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(tree)
    return explain(caught.value, "file", Outer, prefix)


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"inner": 3}, "file: inner: must be a mapping (`key: value`) or be 'none', and this is 3"),
        ({"inner": {}}, "file: inner.size: this key is missing"),
        (
            {"inner": {"size": "4"}},
            "file: inner.size: must be a whole number, and this is '4'; write it without quotes",
        ),
        ({"inner": {"size": 1, "sise": 2}}, "file: inner.sise: unknown key 'sise'; did you mean 'size'?"),
        ({"inner": {"size": 1, "share": 1.5}}, "file: inner.share: must be at most 1, and this is 1.5"),
        (
            {"inner": {"size": 1, "day": "soon"}},
            "file: inner.day: must be a date such as 2026-03-01, and this is 'soon'",
        ),
        ({"many": [{"size": 1}, {}]}, "file: many[1].size: this key is missing"),
        ({"many": {"size": 1}}, "file: many: must be a list, and this is a mapping"),
        ({"named": {"x": {"api": "red"}}}, "file: named.x.inner: this key is missing"),
        ({"named": {"x": {"api": "red", "inner": {"size": None}}}}, "file: named.x.inner.size: must be a whole number"),
        ({"named": {"x": {"api": "blue", "innner": 1}}}, "file: named.x.innner: unknown key 'innner'; known keys: api"),
        (
            {"named": {"x": {"api": "green"}}},
            "file: named.x: its `api` must be one of 'red', 'blue', and it is 'green'",
        ),
        ({"switch": "yes"}, "file: switch: must be true or false, and this is 'yes'; write it without quotes"),
        ({"word": "nroth"}, "file: word: must be 'north' or 'south', and this is 'nroth'; did you mean 'north'?"),
    ],
)
def test_a_mistake_is_explained_with_its_path_and_what_would_be_right(tree: dict[str, Any], sentence: str) -> None:
    assert explanation(tree).startswith(sentence)
    assert "\n" not in explanation(tree)


def test_every_mistake_has_its_line_up_to_five() -> None:
    lines = explanation({f"wrong{i}": 1 for i in range(8)}).split("\n")
    assert lines[0].startswith("file: wrong0: unknown key 'wrong0'; known keys: inner, many, named")
    assert len(lines) == 6
    assert lines[-1] == "file: and 3 more"


def test_a_prefix_says_where_the_schema_stands() -> None:
    assert explanation({"swich": True}, "params").startswith(
        "file: params.swich: unknown key 'swich'; did you mean 'switch'?"
    )


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "empty"),
        ({}, "an empty mapping"),
        ([1], "a list"),
        (True, "true"),
        (dt.date(2026, 3, 1), "2026-03-01"),
        ("x" * 100, "'" + "x" * 59 + "..."),
        (10**50, "a huge number"),
        (float("nan"), "nan"),
    ],
)
def test_a_value_is_called_as_its_writer_would(value: object, name: str) -> None:
    assert kind_of(value) == name


def test_the_nearest_name_is_offered_and_else_all_of_them() -> None:
    assert nearest("techer", ["teacher", "1b"], "defined") == "did you mean 'teacher'?"
    assert nearest("zzz", ["teacher", "1b"], "defined") == "defined: teacher, 1b"
