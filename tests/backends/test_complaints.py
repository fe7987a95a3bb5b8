from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.backends import complaints

LEAVES = st.none() | st.integers() | st.text(max_size=6) | st.just('{"error": {"message": "in"}}')
NAMES = st.sampled_from(
    ["error", "message", "details", "metadata", "raw", "code", "type", "status", "reason", "headers"]
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
INNER = {
    "error": {"message": "key not valid", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}
}


@pytest.mark.parametrize(
    ("body", "sentence", "names", "status"),
    [
        ({"error": {"message": "no", "type": "a_b", "code": 429}}, "no", {"ab"}, 429),
        ({"error": "no"}, "no", {"no"}, None),
        ({"error": "slow down", "error_type": "x_y"}, "slow down", {"xy"}, None),
        ({"code": "Some words", "error": "Incorrect key"}, "Incorrect key", set(), None),
        ({"detail": "Not Found"}, "Not Found", set(), None),
        (
            {"message": {"detail": [{"loc": ["body", "seed", 0], "msg": "no", "type": "extra_forbidden"}]}},
            "body.seed.0: no",
            {"extraforbidden"},
            None,
        ),
        ({"detail": [{"loc": ["a"], "msg": "no"}, {"loc": ["b"], "msg": "no"}]}, "a: no: b: no", set(), None),
        ([INNER], "key not valid", {"invalidargument", "apikeyinvalid"}, None),
        (
            {"error": {"message": json.dumps(INNER), "code": 400}},
            "key not valid",
            {"invalidargument", "apikeyinvalid"},
            400,
        ),
        ({"error": {"message": "Provider returned error", "code": "502"}}, "Provider returned error", {"502"}, 502),
        ({"error": {"message": "failed", "metadata": {"raw": "why"}}}, "failed: why", set(), None),
        ({"error": {"message": "failed", "metadata": {"raw": "it failed"}}}, "it failed", set(), None),
        ({"error": {"message": "x", "metadata": {"reasons": ["y"]}}}, "x", {"reasons"}, None),
        ({"base_resp": {"status_code": 1008, "status_msg": "no money"}}, "no money", set(), None),
        ({"error": {"message": "[brackets] are no JSON"}}, "[brackets] are no JSON", set(), None),
        ("plain words", "plain words", set(), None),
        ({"error": {"code": 1302}}, "", set(), None),
        ({"error": {"code": True}}, "", set(), None),
        ({}, "", set(), None),
        (None, "", set(), None),
    ],
)
def test_a_complaint_is_read_in_whatever_shape_it_comes(
    body: object, sentence: str, names: set[str], status: int | None
) -> None:
    complaint = complaints.read(body)
    assert (complaint.sentence, set(complaint.names), complaint.status) == (sentence, names, status)


def test_what_a_user_wrote_is_no_part_of_the_hosts_sentence() -> None:
    body = {"error": {"message": "flagged", "metadata": {"flagged_input": "account suspended", "reasons": ["x"]}}}
    assert complaints.read(body).sentence == "flagged"


@given(JSON)
def test_any_body_is_read_as_a_complaint(body: object) -> None:
    complaint = complaints.read(body)
    assert len(complaint.fields) <= 40
    assert complaint.status is None or 400 <= complaint.status < 600


def test_a_body_that_nests_without_end_is_read_as_far_as_it_helps() -> None:
    body: object = "x"
    for _ in range(200):
        body = {"error": [body, body]}
    assert complaints.read(body).sentence == ""
