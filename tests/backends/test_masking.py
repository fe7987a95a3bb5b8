from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.backends.masking import mask

KEY = "sk-proj-Ab3dEf6hIj9lMn0pQr"
SECRETS = st.text("abcXYZ019-_", min_size=6, max_size=40)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"bad key {KEY}!", "bad key ***!"),
        ("Incorrect API key provided: sk-proj-****n0pQr. You can find", "Incorrect API key provided: *** You can find"),
        ("Incorrect API key provided: sk***Qr. You", "Incorrect API key provided: *** You"),
        ("key 'sk-proj-Ab...pQr' is no key", "key '***' is no key"),
        ("key sk-p…pQr, sorry", "key ***, sorry"),
        ("key ****pQr", "key ***"),
        ("key sk-pro****", "key ***"),
        ("api_key=sk-****", "***"),
        ("part dEf6hIj of it", "part *** of it"),
        (f"twice {KEY}{KEY}", "twice ******"),
        ("five dEf6h of it", "five dEf6h of it"),
        ("**bold** and so on ... and task*** done", "**bold** and so on ... and task*** done"),
        ("wait...what", "wait...what"),
        ("", ""),
    ],
)
def test_neither_a_secret_nor_a_part_of_it_is_shown(text: str, shown: str) -> None:
    assert mask(text, [KEY]) == shown


def test_each_of_several_secrets_is_hidden_and_a_short_one_only_as_a_word() -> None:
    assert mask(f"org-12345678 {KEY} v1 v12", ["org-12345678", KEY, "v1", ""]) == "*** *** *** v12"


@given(before=st.text(max_size=60), secret=SECRETS, after=st.text(max_size=60))
def test_no_six_characters_of_a_secret_in_a_row_are_left(before: str, secret: str, after: str) -> None:
    shown = mask(f"{before}{secret}{after}", [secret])
    assert not any(secret[n : n + 6] in shown for n in range(len(secret) - 5))


@given(text=st.text(max_size=200))
def test_without_secrets_nothing_is_changed(text: str) -> None:
    assert mask(text, []) == mask(text, [""]) == text


@pytest.mark.parametrize("text", ["x" * 200_000, "sk-proj-" * 25_000, "*" * 200_000, "a*" * 100_000, "sk" * 100_000])
def test_a_long_text_is_masked_in_seconds(text: str) -> None:
    started = time.process_time()
    mask(text, [KEY])
    assert time.process_time() - started < 5
