from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.data.donors import find_partners
from eli5b_batch.data.load import load_problems
from eli5b_batch.data.problem import Problem, Problems
from eli5b_batch.errors import JobError
from eli5b_batch.job.schema import Data

Row = dict[str, Any]

OMNI: Row = {
    "domain": [
        "Mathematics -> Algebra -> Intermediate Algebra -> Inequalities",
        "Mathematics -> Discrete Mathematics -> Algorithms",
        "Mathematics -> Algebra -> Prealgebra",
    ],
    "difficulty": 4.5,
    "problem": "What is $1 + 1$?",
    "solution": "\nCount: $2$.",
    "answer": "2",
    "source": "HMMT_2",
}


def write(path: Path, rows: list[Row]) -> Path:
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return path


def load(path: Path | None, reader: str = "jsonl", **data: object) -> Problems:
    return load_problems(Data.model_validate({"reader": reader, "path": path, **data}))


def refusal(path: Path | None, reader: str = "jsonl", **data: object) -> str:
    with pytest.raises(JobError) as caught:
        load(path, reader, **data)
    message = str(caught.value)
    assert "\n" not in message
    return message


def row(text: str, answer: str = "1", domain: str = "Algebra", **more: object) -> Row:
    return {"problem": text, "answer": answer, "domain": domain, **more}


def ids(loaded: Problems) -> list[str]:
    return [p.id for p in loaded.selected]


def test_omni_math_as_published(tmp_path: Path) -> None:
    path = write(tmp_path / "omni.jsonl", [OMNI])
    loaded = load(path, "omni_math")
    assert loaded.selected == (
        Problem(
            id="00000-" + hashlib.blake2b(b"What is $1 + 1$?", digest_size=4).hexdigest(),
            text="What is $1 + 1$?",
            answer="2",
            solution="Count: $2$.",
            domain="Algebra",
            domains=("Algebra", "Discrete Mathematics"),
            difficulty=4.5,
            source="HMMT_2",
            order=0,
        ),
    )
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (loaded.rows, loaded.duplicates_dropped, loaded.filtered_out, loaded.available) == (1, 0, 0, 1)
    assert (loaded.path, loaded.notes) == (path, ())


def test_gsm8k_as_published(tmp_path: Path) -> None:
    worked = "He has 3*4=<<3*4=12>>12 bags.\nThat is 12*100=<<12*100=1200>>1200 nuts, #### or so.\n#### 1,200"
    loaded = load(write(tmp_path / "gsm8k.jsonl", [{"question": "How many nuts?", "answer": worked}]), "gsm8k")
    (problem,) = loaded.selected
    assert problem.text == "How many nuts?"
    assert problem.answer == "1200"
    assert problem.solution == "He has 3*4=12 bags.\nThat is 12*100=1200 nuts, #### or so.\n#### 1,200"
    assert (problem.domain, problem.domains, problem.difficulty, problem.source) == ("", (), None, "gsm8k")


def test_a_gsm8k_answer_without_a_final_number_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "gsm8k.jsonl", [{"question": "How many?", "answer": "Twelve."}])
    assert refusal(path, "gsm8k") == f'{path}:1: field "answer" has no final number after "####"'


def test_own_files_need_a_problem_and_an_answer_only(tmp_path: Path) -> None:
    path = write(
        tmp_path / "own.jsonl",
        [
            {"problem": " One? ", "answer": " 1 ", "note": "ignored"},
            {
                "problem": "Two?",
                "answer": "2",
                "domain": None,
                "difficulty": None,
                "solution": " ",
                "source": "",
            },
            {"problem": "Three?", "answer": "3", "domain": "Sums", "difficulty": 2},
            {"problem": "Four?", "answer": "4", "domain": ["Mathematics"]},
        ],
    )
    one, two, three, four = load(path).selected
    assert (one.text, one.answer, one.solution, one.domain, one.source) == ("One?", "1", "", "", "")
    assert (two.domains, two.difficulty) == ((), None)
    assert (three.domain, three.difficulty) == ("Sums", 2.0)
    assert four.domain == "Mathematics"


def test_quickstart_brings_its_own_file(tmp_path: Path) -> None:
    assert len(load(None, "quickstart").selected) == 36
    assert refusal(tmp_path / "x.jsonl", "quickstart").startswith("data.path: the quickstart reader brings")


def test_an_unknown_reader_is_told_the_nearest() -> None:
    message = refusal(None, "omnimath")
    assert message == (
        "data.reader: no reader 'omnimath'; did you mean omni_math? known readers: omni_math, gsm8k, jsonl, quickstart"
    )
    assert "did you mean" not in refusal(None, "zzzz")


@pytest.mark.parametrize(("reader", "name"), [("omni_math", "omni_math_rule"), ("gsm8k", "gsm8k")])
def test_a_missing_public_file_is_told_how_to_fetch(reader: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "nothing.jsonl"
    advice = f"`python scripts/fetch_data.py {name} --to data` fetches it"
    assert refusal(path, reader) == f"data.path: there is no file {path}; {advice}"
    assert refusal(None, reader) == (f"data.path is missing: the reader {reader} needs the path of a file; {advice}")


def test_a_missing_own_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.jsonl") == f"data.path: there is no file {tmp_path / 'no.jsonl'}"


def test_a_folder_is_no_data_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"data.path: {tmp_path} can't be read: Is a directory"


@pytest.mark.parametrize("content", [b"", b"\n  \n"])
def test_an_empty_data_set_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "empty.jsonl").write_bytes(content)
    assert "the data set is empty" in refusal(tmp_path / "empty.jsonl")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"problem": "a", "answer"', "not JSON: "),
        (b"[" * 5000, "not JSON: "),
        (b'{"problem": "\\ud800", "answer": "1"}', "not JSON: "),
        (b'["a", "b"]', 'one JSON object per line is expected, found ["a", "b"]'),
        (b'{"answer": "1"}', 'field "problem" is missing'),
        (b'{"problem": "a"}', 'field "answer" is missing'),
        (b'{"problem": "a", "answer": null}', 'field "answer" is missing'),
        (b'{"problem": "  ", "answer": "1"}', 'field "problem" is empty'),
        (b'{"problem": "a", "answer": 12345678901234567890123}', 'field "answer" must be a text in quotes'),
        (b'{"problem": "a", "answer": "1", "solution": ["x"]}', 'field "solution" must be a text in quotes'),
        (b'{"problem": "a", "answer": "1", "difficulty": "3"}', 'field "difficulty" must be a number, found'),
        (
            b'{"problem": "a", "answer": "1", "difficulty": true}',
            'field "difficulty" must be a number, found',
        ),
        (b'{"problem": "a", "answer": "1", "domain": 7}', 'field "domain" must be a text or a list of texts'),
        (b'{"problem": "a", "answer": "1", "domain": ["x", 7]}', 'field "domain" must be a text or a list'),
    ],
)
def test_a_bad_row_is_refused_with_file_and_line(tmp_path: Path, line: bytes, complaint: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"problem": "fine", "answer": "1"}\n\n' + line + b"\n")
    assert refusal(path).startswith(f"{path}:3: {complaint}")


def test_bytes_that_are_no_utf8_are_refused_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    first = '{"problem": "größer", "answer": "1"}\n'.encode()
    path.write_bytes(first + '{"problem": "größer", "answer": "1"}\n'.encode("latin-1"))
    place = len(first) + len('{"problem": "gr')
    assert refusal(path) == f"{path}: byte {place} is not UTF-8; save the file as UTF-8"


def test_lines_end_at_newlines_only(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    texts = ["a\u2028b", "c\u0085d", "e\x0cf"]
    lines = [json.dumps({"problem": text, "answer": "1"}, ensure_ascii=False) for text in texts]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    loaded = load(path)
    assert [p.text for p in loaded.selected] == texts
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_duplicates_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [row("What is  it?", "1"), row("Another?", "2"), row("What\nis it?", "3"), row("Another?", "2")]
    loaded = load(write(tmp_path / "d.jsonl", rows))
    assert [(p.answer, p.order, p.id[:6]) for p in loaded.selected] == [
        ("1", 0, "00000-"),
        ("2", 1, "00001-"),
    ]
    assert (loaded.rows, loaded.duplicates_dropped, loaded.available) == (4, 2, 2)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    return write(
        tmp_path / "mixed.jsonl",
        [
            row("a", "1", "Algebra", difficulty=1, source="east"),
            row("b", "2", "Geometry", difficulty=2.5, source="west"),
            row("c", "3", difficulty=4, source="west") | {"domain": ["Algebra", "Geometry"]},
            row("d", "4", "Counting", source="east"),
        ],
    )


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({}, "abcd"),
        ({"difficulty": [1, 2.5]}, "ab"),
        ({"difficulty": [2.5, 2.5]}, "b"),
        ({"domain": "Geometry"}, "bc"),
        ({"domain": ["Geometry", "Counting"]}, "bcd"),
        ({"source": "east"}, "ad"),
        ({"source": "west", "difficulty": [3, 9]}, "c"),
    ],
)
def test_where(mixed: Path, where: Row, kept: str) -> None:
    loaded = load(mixed, where=where)
    assert "".join(p.text for p in loaded.selected) == kept
    assert [p.order for p in loaded.selected] == list(range(len(kept)))
    assert loaded.filtered_out == 4 - len(kept)


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ({"level": 3}, "level: problems can't be filtered by that; known fields: difficulty, domain, source"),
        ({"difficulty": 3}, "difficulty must be a range [low, high] of numbers, found 3"),
        ({"difficulty": [1]}, "difficulty must be a range [low, high] of numbers, found [1]"),
        ({"difficulty": [3, 1]}, "difficulty must be a range [low, high] of numbers, found [3, 1]"),
        ({"difficulty": ["a", "b"]}, "difficulty must be a range"),
        ({"difficulty": "ab"}, "difficulty must be a range"),
        ({"difficulty": [5, 9]}, "difficulty: no problem lies in [5, 9]; this data set runs from 1 to 4"),
        ({"domain": 3}, "domain must be a text or a list of texts, found 3"),
        ({"domain": []}, "domain must be a text or a list of texts, found []"),
        ({"domain": ["Algebra", 3]}, "domain must be a text or a list of texts"),
        (
            {"domain": ["Algebra", "Geometri"]},
            "domain: no problem has the domain 'Geometri'; the data has: Geometry",
        ),
        ({"source": "?"}, "source: no problem has the source '?'; the data has: east, west"),
    ],
)
def test_a_wrong_filter_is_explained(mixed: Path, where: Row, complaint: str) -> None:
    assert refusal(mixed, where=where).startswith(f"data.where.{complaint}")


def test_filters_that_leave_nothing_together_are_named(mixed: Path) -> None:
    where = {"domain": "Counting", "source": "west"}
    assert refusal(mixed, where=where) == "data.where: no problem matches all of domain, source at once"


def test_filtering_by_what_the_data_lacks_is_explained(tmp_path: Path) -> None:
    path = write(tmp_path / "bare.jsonl", [{"problem": "a", "answer": "1"}])
    assert refusal(path, where={"difficulty": [1, 2]}) == (
        "data.where.difficulty: no problem of this data set has a difficulty"
    )
    assert refusal(path, where={"domain": "x"}).endswith("the data has: none at all")


def test_a_sample_larger_than_the_data_uses_all_and_says_so(mixed: Path) -> None:
    loaded = load(mixed, sample=9)
    assert sorted(p.text for p in loaded.selected) == list("abcd")
    assert loaded.notes == ("data.sample asks for 9 problems; there are 4, all are used",)


def test_limit_takes_the_first_of_the_sample(mixed: Path) -> None:
    assert [p.text for p in load(mixed, limit=2).selected] == ["a", "b"]
    assert ids(load(mixed, sample=4, limit=2)) == ids(load(mixed, sample=4))[:2]
    assert len(load(mixed, sample=2, limit=3).selected) == 2


def test_another_seed_draws_another_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "many.jsonl", [row(f"problem {i}", str(i)) for i in range(50)])
    first, again, other = (ids(load(path, sample=50, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first != sorted(first)
    assert sorted(first) == sorted(other)


rows_of_any_kind = st.lists(
    st.builds(
        row,
        st.text("ab \n", min_size=1, max_size=4).filter(str.strip),
        st.sampled_from(["1", "$1$", "2", "3"]),
        st.sampled_from(["Algebra", "Geometry", "Counting"]),
    ),
    min_size=1,
    max_size=25,
)


def load_rows(rows: list[Row], **data: int) -> Problems:
    with tempfile.TemporaryDirectory() as folder:
        return load(write(Path(folder) / "rows.jsonl", rows), "jsonl", **data)


@settings(max_examples=60, deadline=None)
@given(rows_of_any_kind, rows_of_any_kind)
def test_appending_rows_changes_no_id_and_no_relative_order(rows: list[Row], more: list[Row]) -> None:
    before, after = load_rows(rows), load_rows(rows + more)
    assert ids(after)[: len(ids(before))] == ids(before)
    drawn, redrawn = load_rows(rows, sample=99), load_rows(rows + more, sample=99)
    assert [key for key in ids(redrawn) if key in set(ids(drawn))] == ids(drawn)


@settings(max_examples=60, deadline=None)
@given(rows_of_any_kind, st.integers(1, 30), st.integers(0, 5))
def test_a_larger_sample_extends_the_smaller_one(rows: list[Row], size: int, seed: int) -> None:
    small, large = load_rows(rows, sample=size, seed=seed), load_rows(rows, sample=size + 3, seed=seed)
    assert large.selected[: len(small.selected)] == small.selected
    assert {p.id: large.partners.get(p.id) for p in small.selected} == {
        p.id: small.partners.get(p.id) for p in small.selected
    }


def bare(answer: str) -> str:
    return answer.replace("$", "")


def donor_by_definition(ordered: tuple[Problem, ...], at: int) -> Problem | None:
    me = ordered[at]
    earlier, later = ordered[:at][::-1], ordered[at + 1 :]
    for others, any_domain in ((earlier, False), (later, False), (earlier, True), (later, True)):
        for other in others:
            if bare(other.answer) != bare(me.answer) and (any_domain or other.domain == me.domain):
                return other
    return None


@settings(max_examples=150, deadline=None)
@given(rows_of_any_kind)
def test_partners_follow_their_definition(rows: list[Row]) -> None:
    loaded = load_rows(rows)
    for at, problem in enumerate(loaded.selected):
        donor = loaded.partners.get(problem.id)
        assert donor == donor_by_definition(loaded.selected, at)
        assert donor is None or (donor.id != problem.id and bare(donor.answer) != bare(problem.answer))


@settings(max_examples=60, deadline=None)
@given(rows_of_any_kind, rows_of_any_kind)
def test_appending_rows_keeps_every_donor_of_the_same_domain(rows: list[Row], more: list[Row]) -> None:
    before, after = load_rows(rows), load_rows(rows + more)
    for problem in before.selected:
        donor = before.partners.get(problem.id)
        if donor is not None and donor.domain == problem.domain:
            assert after.partners[problem.id] == donor


def test_cutting_changes_no_donor_even_if_it_is_cut_off(tmp_path: Path) -> None:
    rows = [row("a", "1"), row("b", "2", "Geometry"), row("c", "1"), row("d", "4"), row("e", "5", "Geometry")]
    path = write(tmp_path / "p.jsonl", rows)
    whole, cut = load(path), load(path, limit=2)
    assert [whole.partners[p.id].text for p in whole.selected] == ["d", "e", "d", "c", "b"]
    assert {p.id: whole.partners[p.id] for p in cut.selected} == cut.partners


def test_without_another_answer_there_is_no_partner(tmp_path: Path) -> None:
    assert load(write(tmp_path / "same.jsonl", [row("a", "1"), row("b", r"\( 1 \)")])).partners == {}


def test_a_long_run_of_equal_answers_finds_the_one_other() -> None:
    # In no time: a search backwards for each would look at 10^8 pairs.
    problems = [Problem(id=str(i), text="", answer=str(i == 0), order=i) for i in range(20_000)]
    assert {donor.id for donor in find_partners(problems).values()} == {"0", "1"}
