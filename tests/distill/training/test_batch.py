import numpy as np
import pytest
import tiny_students as tiny

from distill.examples import Example
from distill.teachers.base import TopK
from distill.training.batch import build
from serve.errors import Unprocessable


def example(name: str, ids: list[int], positions: list[int]) -> Example:
    return Example(name, np.array(ids, np.int32), np.array(positions, np.int32))


TWO = [example("a", [10, 11, 12, 13], [1, 3]), example("b", [20, 21, 22], [2])]


def test_the_state_before_a_position_predicts_its_token() -> None:
    batch = build(TWO, None)
    assert batch.ids.tolist() == [[10, 11, 12, 13, 20, 21, 22]]
    assert batch.labels.tolist() == [11, 13, 22]
    assert batch.rows.tolist() == [0, 2, 5]
    assert batch.ids[0, batch.rows].tolist() == [10, 12, 21]


def test_places_begin_anew_with_every_example() -> None:
    batch = build(TWO, None)
    assert batch.places.tolist() == [[0, 1, 2, 3, 0, 1, 2]]
    assert batch.bounds.tolist() == [0, 4, 7]
    assert batch.longest == 4


def test_each_example_brings_its_own_teacher_rows_whatever_the_order() -> None:
    teacher = tiny.HashTeacher()
    examples = tiny.examples(9)
    order = np.random.default_rng(0).permutation(9)
    batch = build([examples[index] for index in order], teacher)
    assert batch.teacher is not None
    expected = np.concatenate([teacher(examples[index]).ids for index in order])
    assert np.array_equal(batch.teacher.ids.numpy(), expected)
    assert len(batch.labels) == len(expected)


def test_narrower_rows_are_filled_up_with_unused_places() -> None:
    def teacher(one: Example) -> TopK:
        width = 3 if one.record_id == "a" else 1
        count = len(one.positions)
        logprobs = np.full((count, width), -2.0, np.float32)
        return TopK(
            np.tile(np.arange(width, dtype=np.int32), (count, 1)), logprobs, np.zeros(count, np.float32)
        )

    batch = build(TWO, teacher)
    assert batch.teacher is not None
    assert batch.teacher.ids.tolist() == [[0, 1, 2], [0, 1, 2], [0, -1, -1]]
    assert batch.teacher.logprobs[2].tolist() == [-2.0, -np.inf, -np.inf]


def test_rows_of_another_example_are_refused() -> None:
    wrong = tiny.HashTeacher()(TWO[1])
    with pytest.raises(Unprocessable, match=r"1 rows for record a, which has 2 tokens to learn"):
        build(TWO, lambda _: wrong)
