"""Each checker says yes to what is right, no to what is wrong, and nothing where it has nothing to say."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.agents.checkers import sandbox
from distill.agents.checkers.arithmetic import wrong_equation
from distill.agents.checkers.base import Finding
from distill.agents.checkers.code import check_code
from distill.agents.checkers.form import check_format, check_language
from distill.agents.checkers.maths import check_maths
from distill.agents.checkers.references import References
from distill.records import Record, chat
from serve.errors import NotFound


def _answer(text: str, instruction: str = "Do it.", **fields: object) -> Record:
    return chat(instruction, text, source="s", **fields)  # type: ignore[arg-type]


def _reason(finding: Finding | None) -> str | None:
    """None: does not apply; empty: fine."""
    return None if finding is None else "" if finding.ok else finding.reason


@pytest.mark.parametrize(
    "text",
    [
        "12 × 3 = 36",
        "so 2 + 3 * 4 = 14 in all",
        "\\(15 \\times 4 = 60\\)",
        "$5 + $3 = $8",
        "10 / 4 = 2.5 = 5 / 2",
        "10 / 3 = 3.33",
        "10 / 3 ≈ 3",
        "15% * 80 = 12",
        "1,000 - 1 = 999",
        "2^10 = 1024",
        "(2 + 3) * 4 = 20",
        "-3 + 5 = 2",
        "17 / 5 = 3 remainder 2",
        "x + 3 = 9 and 2x + 1 = 5",
        "y * 2 + 3 = 4",
        "f(2) + 2 + 3 = 9",
        "5 - 3 = 2x",
        "2 + 3 = 5 * z",
        "see 3 = 4",
        "√16 + 2 = 6",
        "10 / 0 = 0",
        "9 ** 2 = 81",
        "version 1.2.3 - 4 = old",
    ],
)
def test_true_equations_and_what_is_none(text: str) -> None:
    assert wrong_equation(text) == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("First, 12 × 3 = 38 eggs.", "12 * 3 = 38"),
        ("10 / 4 = 2.5 = 6 / 2", "2.5 = 6 / 2"),
        ("10 / 3 = 3", "10 / 3 = 3"),
        ("10 / 3 ≈ 5", "10 / 3 ≈ 5"),
        ("15% * 80 = 14", "15% * 80 = 14"),
        ("(2 + 3) * 4 = 14.", "(2 + 3) * 4 = 14"),
        ("1,000 - 1 = 99", "1,000 - 1 = 99"),
    ],
)
def test_wrong_equations(text: str, found: str) -> None:
    assert wrong_equation(text) == found


@given(st.lists(st.integers(1, 999), min_size=2, max_size=5), st.data())
def test_random_equations_are_computed_as_fractions_do(numbers: list[int], data: st.DataObject) -> None:
    signs = [data.draw(st.sampled_from("+-*")) for _ in numbers[1:]]
    side = str(numbers[0]) + "".join(
        f" {sign} {value}" for sign, value in zip(signs, numbers[1:], strict=True)
    )
    value = Fraction(eval(side))
    assert wrong_equation(f"We get {side} = {value}.") == ""
    assert wrong_equation(f"We get {side} = {value + 1}.") != ""


def test_maths() -> None:
    known = {"category": "maths", "facts": {"answer": "391"}}
    assert _reason(check_maths(_answer("17 * 23 = 391", **known))) == ""
    assert _reason(check_maths(_answer("It is **391**, more than 300.", **known))) == ""
    assert _reason(check_maths(_answer("17 * 23 = 391\nAnswer: 400", **known))) == "wrong answer"
    assert _reason(check_maths(_answer("It is 390.", **known))) == "wrong answer"
    assert _reason(check_maths(_answer("17 * 20 = 350, in the end 391", **known))) == "wrong arithmetic"
    assert _reason(check_maths(_answer("no number known", category="maths"))) == ""
    assert check_maths(_answer("2 + 2 = 5", category="writing")) is None
    who = {"category": "logic", "facts": {"answer": "Dora"}}
    assert _reason(check_maths(_answer("Dora is the youngest of the 4.", **who))) == ""
    assert _reason(check_maths(_answer("Carla is the youngest of the 4.", **who))) == "wrong answer"
    assert _reason(check_maths(_answer("Dora is older.\n\nAnswer: Carla", **who))) == "wrong answer"


_ADD = "```python\ndef add(a, b):\n    return a + b\n```"


def test_code_parses() -> None:
    assert _reason(check_code(_answer(_ADD))) == ""
    assert _reason(check_code(_answer(_ADD.replace("b):", "b:")))) == "code does not parse"
    assert check_code(_answer("```sql\nSELECT 1\n```")) is None
    assert check_code(_answer("```\nls -l\n```", category="code")) is None
    assert _reason(check_code(_answer("```\ndef f(:\n```", category="code"))) == "code does not parse"
    assert check_code(_answer("plain words")) is None
    assert _reason(check_code(_answer("plain words", facts={"tests": "assert add(1, 2) == 3"}))) == "no code"


def test_code_runs_and_passes_its_tests() -> None:
    right, wrong = {"tests": "assert add(1, 2) == 3"}, {"tests": "assert add(1, 2) == 4, 'sum'"}
    assert _reason(check_code(_answer(_ADD, facts=right), run=True)) == ""
    failed = check_code(_answer(_ADD, facts=wrong), run=True)
    assert failed == Finding(False, "tests fail", "AssertionError: sum")
    assert _reason(check_code(_answer(_ADD, facts=wrong), run=False)) == ""
    assert _reason(check_code(_answer("```python\nprint(nothing)\n```"), run=True)) == "code fails"
    asks = _answer("```python\nname = input()\n```")
    assert _reason(check_code(asks, run=True)) == "", "it waits for somebody who is not there"


def test_the_sandbox_limits_time_memory_files_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert sandbox.run("while True: pass", time_s=1).error == "took longer than 1 s"
    assert "MemoryError" in sandbox.run("x = bytearray(3 << 30)").error
    assert not sandbox.run("open('big', 'wb').write(b'x' * (4 << 20))").ok
    assert sandbox.run("import os\nassert 'OPENAI_API_KEY' not in os.environ").ok
    assert sandbox.run("raise SystemExit(3)").error == "ended with status 3"
    assert not Path("big").exists(), "it works in a folder of its own"
    left_behind = tmp_path / "alive"
    source = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', \"import time; time.sleep(2); open('{left_behind}', 'w')\"])"
    )
    sandbox.run(source, time_s=5)
    import time

    time.sleep(2.5)
    assert not left_behind.exists(), "what it started ends with it"


def test_format() -> None:
    facts = {"constraint": '{"kind":"bullets","count":2}'}
    assert _reason(check_format(_answer("- a\n- b", facts=facts))) == ""
    assert _reason(check_format(_answer("- a", facts=facts))) == "format bullets"
    assert (
        _reason(check_format(_answer("x", facts={"constraint": "short please"}))) == "unreadable constraint"
    )
    assert check_format(_answer("anything")) is None


def test_language() -> None:
    assert _reason(check_language(_answer("It is blue.", "Why?", language="en"))) == ""
    assert _reason(check_language(_answer("它是蓝色的。", "Why?", language="en"))) == "wrong language"
    assert check_language(_answer("它是蓝色的。", "Say it in Chinese.", language="en")) is None
    target = {"category": "translation", "facts": {"language": "ja"}}
    assert _reason(check_language(_answer("空は青いです。", "Translate", **target))) == ""
    assert _reason(check_language(_answer("天空是蓝色的。", "Translate", **target))) == "wrong language"
    assert check_language(_answer("42", "多少？", language="zh")) is None


def test_references(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "museum.txt").write_text("The museum opened in 1904 and shows 320 paintings from the north.")
    (tmp_path / "secret.txt").write_text("The museum closed in 1950.")
    texts = References(folder)

    def reason(answer: str, name: str = "museum.txt") -> str | None:
        pair = texts.check(_answer(answer, "When did it open?", facts={"references": name}))
        return None if pair is None else _reason(pair[0])

    assert reason("The museum opened in 1904.") == ""
    assert reason("The museum opened in 1914.") == "number not in the references"
    assert reason("Bakers knead sourdough slowly overnight.") == "not in the references"
    assert reason("x", "gallery.txt") == "reference missing"
    assert reason("The museum closed in 1950.", "../secret.txt") == "reference missing"
    assert texts.check(_answer("no documents named")) is None
    with pytest.raises(NotFound, match=r"verify\.references"):
        References(tmp_path / "none")
