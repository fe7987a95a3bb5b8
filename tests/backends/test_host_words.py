from __future__ import annotations

import pytest

from eli5b_batch.backends.host_words import NAMES, OVERRULING, SENTENCES, Status, of_names, of_sentence


def test_every_row_names_its_source() -> None:
    assert all(row.source for row in (*NAMES, *SENTENCES, *OVERRULING))


def test_no_name_means_two_things() -> None:
    names = [name for row in NAMES for name in row.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("status", list(Status))
def test_unknown_names_and_sentences_have_no_meaning(status: Status) -> None:
    assert of_names({"invalidrequesterror", "apierror", "error", "500"}, status) is None
    assert (
        of_sentence(
            "'temperature' does not support 0.7 with this model. Only the default (1) value is supported.", status
        )
        is None
    )
    assert of_sentence("The requested model supports at most 1 image per prompt.", status) is None


def test_a_host_in_trouble_is_believed_to_be_so_unless_it_says_that_the_call_or_the_account_is_to_blame() -> None:
    assert {row.meaning.value for row in (*NAMES, *SENTENCES) if Status.FAULT in row.statuses} == {
        "bad_request",
        "context_overflow",
        "credit",
        "not_done",
    }
