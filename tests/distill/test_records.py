"""Records: content decides the id, shapes are checked, and files give back what they were given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from distill import imports, record_files
from distill.records import Message, Record, Rejection, chat
from serve.errors import NotFound, Unprocessable

texts = st.text(max_size=40)


def records() -> st.SearchStrategy[Record]:
    fim = st.builds(
        lambda prompt, suffix, completion, category: Record(
            kind="fim", prompt=prompt, suffix=suffix, completion=completion, source="s", category=category
        ),
        texts,
        texts,
        texts,
        st.sampled_from(["", "sql"]),
    )
    chats = st.builds(
        lambda asked, answer, facts: chat(asked, answer, source="s", facts=facts),
        texts,
        texts,
        st.dictionaries(st.sampled_from(["ddl", "answer"]), texts),
    )
    return fim | chats


def test_the_content_decides_the_id_and_nothing_else_does() -> None:
    record = chat("Why?", "Because.", source="a", category="logic")
    assert record.id == chat("Why?", "Because.", source="b", facts={"answer": "x"}).id
    assert record.id == record.scored(selection__density=0.5).id
    assert record.id != chat("Why?", "Because!", source="a").id
    assert record.id != Record(kind="completion", prompt="Why?", completion="Because.", source="a").id


def test_a_changed_record_is_a_child_with_an_id_of_its_own() -> None:
    record = chat("Why?", source="seed", system="Be brief.")
    child = record.answered("Because.", source="answer")
    assert child.parents == (record.id,) and child.id != record.id
    assert child.response == "Because." and child.question == record.messages
    assert child.answered("No.", source="answer").messages[-1].content == "No."
    other = child.asked("How?", source="expand")
    assert other.instruction == "How?" and other.response == "" and other.messages[0].content == "Be brief."


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "chat"},
        {"kind": "chat", "messages": [{"role": "assistant", "content": "first"}]},
        {"kind": "chat", "messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
        {"kind": "chat", "messages": [{"role": "user", "content": "a"}], "prompt": "b"},
        {"kind": "fim", "messages": [{"role": "user", "content": "a"}]},
        {"kind": "completion", "prompt": "a", "suffix": "b"},
        {"kind": "fim", "prompt": "a", "colour": "red"},
    ],
)
def test_a_record_of_the_wrong_shape_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Record.model_validate({"source": "s", **wrong})


@given(st.lists(records(), max_size=7))
def test_files_give_back_what_they_were_given(some: list[Record]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hashes = record_files.write_records(folder / "records", some, shard_records=3)
        assert sorted(hashes) == sorted(path.name for path in (folder / "records").iterdir())
        assert record_files.read_records(folder / "records") == some
        record_files.write_jsonl(folder / "some.jsonl", some)
        assert record_files.read_jsonl(folder / "some.jsonl") == some
        dropped = [Rejection(record=one, agent="a", reason="short") for one in some]
        record_files.write_rejections(folder / "rejected.jsonl", dropped)
        assert record_files.read_rejections(folder / "rejected.jsonl") == dropped


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    record_files.write_records(folder, [chat("Why?", "Because.", source="s")])
    shard = folder / "shard-00000.parquet"
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2])
    with pytest.raises(Unprocessable, match=r"shard-00000\.parquet is damaged"):
        record_files.read_records(folder)
    with pytest.raises(NotFound):
        record_files.read_records(tmp_path / "nowhere")


def test_writing_again_replaces_all_shards(tmp_path: Path) -> None:
    many = [chat(f"Why {n}?", "Because.", source="s") for n in range(5)]
    record_files.write_records(tmp_path / "records", many, shard_records=2)
    record_files.write_records(tmp_path / "records", many[:1], shard_records=2)
    assert record_files.read_records(tmp_path / "records") == many[:1]
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def _lines(path: Path, *entries: object) -> Path:
    path.write_text("\n".join(e if isinstance(e, str) else json.dumps(e) for e in entries), encoding="utf-8")
    return path


def test_alpaca_sharegpt_and_openai_files_are_read(tmp_path: Path) -> None:
    alpaca = _lines(
        tmp_path / "a.json",
        json.dumps([{"instruction": "Add.", "input": "1 and 2", "output": "3"}, {"instruction": "Wait."}]),
    )
    found, bad = imports.read(alpaca, "alpaca", category="maths")
    assert [one.instruction for one in found] == ["Add.\n\n1 and 2", "Wait."]
    assert [one.response for one in found] == ["3", ""] and not bad
    assert {one.category for one in found} == {"maths"} and found[0].source == "a.json"

    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    found, _ = imports.read(
        _lines(tmp_path / "s.jsonl", {"conversations": turns, "system": "Be kind."}), "sharegpt"
    )
    assert [one.role for one in found[0].messages] == ["system", "user", "assistant"]

    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    found, _ = imports.read(_lines(tmp_path / "o.jsonl", {"messages": messages}), "openai")
    assert found[0].messages == (
        Message(role="user", content="Hi"),
        Message(role="assistant", content="Hello"),
    )


def test_a_bad_line_is_kept_aside_with_its_number_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = _lines(
        tmp_path / "a.jsonl",
        {"instruction": "One"},
        '{"instruction": "torn',
        {"instruction": ""},
        {"input": "only"},
        {"instruction": 5},
        ["no object"],
        {"instruction": "Two"},
    )
    found, bad = imports.read(path, "alpaca")
    assert [one.instruction for one in found] == ["One", "Two"]
    assert [one.number for one in bad] == [2, 3, 4, 5, 6]
    assert "no JSON" in bad[0].reason and bad[1].reason == "instruction is empty"
    assert bad[0].text == '{"instruction": "torn'


def test_a_file_of_another_form_or_none_is_refused(tmp_path: Path) -> None:
    path = _lines(tmp_path / "o.jsonl", {"messages": [{"role": "user", "content": "Hi"}]})
    with pytest.raises(Unprocessable, match="no entry of the form alpaca: entry 1: instruction is missing"):
        imports.read(path, "alpaca")
    with pytest.raises(Unprocessable, match="known: records, alpaca"):
        imports.read(path, "csv")
    with pytest.raises(NotFound):
        imports.read(tmp_path / "none", "alpaca")
    path.write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(Unprocessable, match="not UTF-8"):
        imports.read(path, "alpaca")
