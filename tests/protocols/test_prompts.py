"""prompts: templates by name, a job's own in place of the built-in ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from eli5b_batch.data.problem import Problem
from eli5b_batch.errors import JobError, UpstreamError
from eli5b_batch.job.schema import Model
from eli5b_batch.protocols.prompts import Prompts

if TYPE_CHECKING:
    from pathlib import Path

PROBLEM = Problem("00000-x", r"Find $\frac{1}{2} {{ 3 }} {% if %}$.", "7", solution="Add.")
STUDENT = Model(provider="p", model="llama3.2:1b")


class Hint:
    text = "1. Read {{ it }}."


class Failed:
    @property
    def text(self) -> str:
        raise UpstreamError("the key")


def own(folder: Path, **texts: str) -> Prompts:
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return Prompts("eli5b", folder)


def test_the_built_in_prompts_render_with_what_the_protocol_gives_them() -> None:
    prompts = Prompts("eli5b")
    assert set(prompts.texts) == {"answer", "hint_generic", "hint_rewritten", "hint_tailored", "hint_tailored_any"}
    for name in prompts.texts:
        (message,) = prompts(
            name, problem=PROBLEM, student=STUDENT, solution=PROBLEM.solution, draft=Hint(), hint=Hint()
        ).messages()
        assert message["role"] == "user"
        assert PROBLEM.text in message["content"]
        assert message["content"] == message["content"].strip()


def test_the_wrapper_is_the_same_with_and_without_a_hint() -> None:
    prompts = Prompts("eli5b")
    (bare,) = prompts("answer", problem=PROBLEM, hint=None).messages()
    (hinted,) = prompts("answer", problem=PROBLEM, hint=Hint()).messages()
    assert Hint.text in hinted["content"]
    assert bare["content"].split("\n")[0] == hinted["content"].split("\n")[0]
    assert bare["content"].split("\n")[-1] == hinted["content"].split("\n")[-1]


def test_values_are_inserted_as_they_are_and_never_read_as_template_code(tmp_path: Path) -> None:
    (message,) = own(tmp_path, answer="{{ problem.text }} & <b>")("answer", problem=PROBLEM).messages()
    assert message["content"] == f"{PROBLEM.text} & <b>"


def test_lines_with_a_role_split_a_text_into_messages(tmp_path: Path) -> None:
    text = "--- system\nBe brief.\n--- user\n{{ problem.text }}\n---\nnot a role\n--- assistant \nWell,\n"
    assert own(tmp_path, answer=text)("answer", problem=PROBLEM).messages() == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"{PROBLEM.text}\n---\nnot a role"},
        {"role": "assistant", "content": "Well,"},
    ]


def test_text_before_the_first_role_is_the_users(tmp_path: Path) -> None:
    messages = own(tmp_path, answer="Hello\n--- assistant\nYes?")("answer").messages()
    assert [m["role"] for m in messages] == ["user", "assistant"]


def test_a_folder_replaces_some_and_leaves_the_rest(tmp_path: Path) -> None:
    prompts = own(tmp_path, answer="Mine.")
    assert prompts.texts["answer"] == "Mine."
    assert prompts.texts["hint_generic"] == Prompts("eli5b").texts["hint_generic"]


def test_single_files_replace_prompts_by_name(tmp_path: Path) -> None:
    (tmp_path / "plain.md").write_text("Mine.")
    assert Prompts("eli5b", {"hint_generic": tmp_path / "plain.md"}).texts["hint_generic"] == "Mine."


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "answer.txt").write_bytes(b"\xef\xbb\xbf--- system\r\nA\r\nB\r\n")
    assert Prompts("eli5b", tmp_path)("answer").messages() == [{"role": "system", "content": "A\nB"}]


def test_a_failed_reply_in_a_prompt_is_the_callers_to_see() -> None:
    with pytest.raises(UpstreamError, match="the key"):
        Prompts("eli5b")("answer", problem=PROBLEM, hint=Failed()).messages()


@pytest.mark.parametrize(
    "text",
    ["{{ nosuch }}", "{{ problem.nosuch }}", "{{ 1 / 0 }}", "{% include 'x' %}", "{{ problem.__class__.__mro__ }}"],
)
def test_what_a_template_cannot_do_is_its_mistake(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobError, match=r"^prompts\.answer: .*; the values given to it are: problem$"):
        own(tmp_path, answer=text)("answer", problem=PROBLEM).messages()


def test_a_template_changes_nothing_it_is_given(tmp_path: Path) -> None:
    prompts = own(tmp_path, answer="{{ values.append(1) }}")
    values: list[int] = []
    with pytest.raises(JobError):
        prompts("answer", values=values).messages()
    assert values == []


@pytest.mark.parametrize("lines_before", [0, 3])
def test_a_syntax_error_is_named_by_its_line_in_the_file(tmp_path: Path, lines_before: int) -> None:
    text = "--- system\n" + "x\n" * lines_before + "--- user\nfine\n{{ broken\n"
    with pytest.raises(JobError, match=rf"^prompts: {tmp_path}/answer\.txt:{lines_before + 4}: not a valid template"):
        own(tmp_path, answer=text)


def test_a_role_nobody_knows_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"answer\.txt:3: no role 'sytem'; did you mean 'system'\?$"):
        own(tmp_path, answer="a\nb\n--- sytem\nc\n")


@pytest.mark.parametrize("content", [b"", b"  \n", b"--- system\n", b"\xff\xfe"])
def test_an_empty_or_unreadable_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "answer.txt").write_bytes(content)
    with pytest.raises(JobError, match=r"is empty$|it is not UTF-8 text$"):
        Prompts("eli5b", tmp_path)


def test_a_prompt_the_protocol_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"no prompt is called 'hint_tailord'; did you mean 'hint_tailored'\?"):
        own(tmp_path, hint_tailord="x")


def test_a_folder_without_prompts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(JobError, match="holds no prompt"):
        Prompts("eli5b", tmp_path)
