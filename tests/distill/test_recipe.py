"""Recipes: the shipped ones load and plan, and a wrong one is told by its key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill import plan, recipe
from serve.errors import NotFound, Unprocessable

BASE = "name: a\nteacher: {kind: llamacpp, model: t-1.5b}\nstudent: {model: s-0.5b}\n"
SHIPPED = (
    "distilqwen2.5-0.5b",
    "distilqwen2.5-1.5b",
    "distilqwen2.5-3b",
    "distilqwen2.5-7b",
    "smoke",
    "sql-0.5b",
)


def test_what_is_shipped() -> None:
    assert tuple(recipe.shipped()) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_load_and_plan(name: str) -> None:
    loaded, base = recipe.load(name)
    assert loaded.name == name and loaded.about
    found = plan.plan(loaded, base)
    assert [one.stage for one in found.stages] == list(loaded.stages)
    assert found.hours > 0 and found.memory_per_gpu_gb
    assert all(need <= found.memory_gb for need in found.memory_per_gpu_gb.values()), found.advice
    json.dumps(found.as_json())


def test_the_papers_recipes_are_the_papers() -> None:
    teachers = {"0.5b": "14B", "1.5b": "32B", "3b": "32B", "7b": "72B"}
    for size, teacher in teachers.items():
        loaded, base = recipe.load(f"distilqwen2.5-{size}")
        assert f"-{teacher}-" in loaded.teacher.model
        for stage in (loaded.sft, loaded.kd):
            assert (stage.learning_rate, stage.epochs) == (1e-5, 3.0)
        assert loaded.capture.top_k == 10 and loaded.hardware.gpus == 8
        found = plan.plan(loaded, base)
        learned = next(one for one in found.stages if one.stage == "sft").records
        assert 10_000 <= learned <= 100_000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BASE + "colour: red\n", "unknown key colour"),
        (BASE + "sft: {epochs: 1, lr: 3}\n", "unknown key sft.lr"),
        (BASE + "kd: {loss: l2}\n", "kd.loss"),
        (BASE + "sft: {epochs: 0}\n", "sft.epochs"),
        (BASE.replace("name: a", "name: A B"), "name"),
        ("teacher: {kind: llamacpp, model: t}\n", "name: Field required"),
        ("- a list\n", "a recipe is a mapping"),
        ("name: [unclosed\n", "is not YAML"),
        (BASE.replace("llamacpp", "openai"), "cannot score tokens: name a `scorer`"),
        (BASE + "kd: {hidden_weight: 1}\n", "need `capture: {online: true}`"),
        (BASE.replace("llamacpp", "vllm") + "capture: {draws: 10}\n", "vLLM reports the top K only"),
    ],
)
def test_a_wrong_recipe_is_told_by_its_key(text: str, told: str) -> None:
    with pytest.raises(Unprocessable) as raised:
        recipe.parse(text, "my.yaml")
    assert told in raised.value.message and raised.value.message.startswith("my.yaml")


def test_an_api_teacher_with_a_scorer_is_fine() -> None:
    text = BASE.replace("llamacpp", "anthropic") + "scorer: {kind: llamacpp, model: x}\n"
    assert recipe.parse(text, "x").scorer is not None


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(NotFound, match="smoke"):
        recipe.load("my-recipe")


def _plan(text: str, tmp_path: Path) -> plan.Plan:
    return plan.plan(recipe.parse(text, "x"), tmp_path)


def test_a_plan_grows_with_teacher_and_data_and_warns(tmp_path: Path) -> None:
    gpus = "hardware: {gpus: 8, gpu_hour_usd: 2}\nsql: {schemas: 500}\n"
    small = _plan(BASE.replace("t-1.5b", "t-32B") + gpus, tmp_path)
    large = _plan(BASE.replace("t-1.5b", "t-72B") + gpus, tmp_path)
    assert large.hours > small.hours > 0 and large.cost_usd > small.cost_usd > 0
    assert any("32B is the best value" in line for line in large.advice)
    assert not any("32B is the best value" in line for line in small.advice)
    more = _plan(BASE.replace("t-1.5b", "t-32B") + gpus.replace("500", "50000"), tmp_path)
    assert any("flatten past 100,000" in line for line in more.advice)
    assert more.store_gb > small.store_gb


def test_a_plan_says_when_memory_is_short_and_zero_helps(tmp_path: Path) -> None:
    base = BASE.replace("s-0.5b", "s-7B").replace("t-1.5b", "t-32B") + "hardware: {gpus: 8}\n"
    plain = _plan(base, tmp_path)
    assert any("sft needs" in line and "zero_stage" in line for line in plain.advice)
    sharded = _plan(base + "sft: {zero_stage: 3}\n", tmp_path)
    assert sharded.memory_per_gpu_gb["sft"] < plain.memory_per_gpu_gb["sft"] / 2


def test_an_api_teacher_costs_what_its_price_says(tmp_path: Path) -> None:
    text = (
        "name: a\nteacher: {kind: openai, model: gpt, price: {prompt: 1, completion: 10}}\nstudent: {model: s-0.5b}\n"
        "stages: [sql, select, verify, sft]\nsql: {schemas: 100, questions_per_schema: 10}\n"
    )
    found = _plan(text, tmp_path)
    (sql,) = [one for one in found.stages if one.stage == "sql"]
    assert sql.cost_usd == pytest.approx((sql.prompt_tokens + 10 * sql.completion_tokens) / 1e6, abs=0.01)


def test_a_size_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(Unprocessable, match="parameters_b"):
        _plan(BASE.replace("s-0.5b", "my-student"), tmp_path)
    named = BASE.replace("{model: s-0.5b}", "{model: my-student, parameters_b: 0.5}") + "sql: {schemas: 10}\n"
    assert _plan(named, tmp_path).hours > 0
    with pytest.raises(Unprocessable, match="A800-80G"):
        _plan(BASE + "hardware: {gpus: 1, gpu: abacus}\n", tmp_path)
