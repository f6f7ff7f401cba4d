"""A recipe: one YAML file that says what a student learns from whom, and how.

    name: sql-0.5b
    teacher: {kind: llamacpp, model: qwen2.5-coder-1.5b}
    student: {model: qwen2.5-coder-0.5b}
    ...

The parts are in `recipe_parts`. Unknown keys are errors. Knows no stage's code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from distill.recipe_parts import (
    Answering,
    Budget,
    Capture,
    Distillation,
    Evaluation,
    Expansion,
    Hardware,
    Lora,
    Part,
    Price,
    Rewriting,
    SeedFile,
    Selection,
    SqlTrack,
    Student,
    Teacher,
    Training,
    Verification,
)
from serve.errors import NotFound, Unprocessable

__all__ = [
    "SHIPPED",
    "STAGES",
    "Answering",
    "Budget",
    "Capture",
    "Distillation",
    "Evaluation",
    "Expansion",
    "Hardware",
    "Lora",
    "Price",
    "Recipe",
    "Rewriting",
    "SeedFile",
    "Selection",
    "SqlTrack",
    "StageName",
    "Student",
    "Teacher",
    "Training",
    "Verification",
    "described",
    "load",
    "parse",
    "shipped",
]

StageName = Literal[
    "seed", "expand", "rewrite", "answer", "sql", "select", "verify", "sft", "capture", "kd", "evaluate"
]
STAGES: tuple[StageName, ...] = (
    "seed",
    "expand",
    "rewrite",
    "answer",
    "sql",
    "select",
    "verify",
    "sft",
    "capture",
    "kd",
    "evaluate",
)
"""In the order they run."""
SHIPPED = Path(__file__).with_name("recipes")


class Recipe(Part):
    """The whole of a distillation."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    """Lower-case; names the run folder."""
    about: str = ""
    """One line for people."""
    seed: int = 17
    """Of every random choice."""
    stages: tuple[StageName, ...] = STAGES
    """What is run, in the order of `STAGES`; stages that are left out hand their input on."""
    seeds: tuple[SeedFile, ...] = ()
    """Instructions, or answered records, to begin with."""
    teacher: Teacher
    """Answers and scores."""
    scorer: Teacher | None = None
    """Scores tokens when the teacher is an API (any model with the student's vocabulary)."""
    verifier: Teacher | None = None
    """Votes; default: the teacher, asked anew."""
    student: Student
    """Learns."""
    expand: Expansion = Expansion()
    rewrite: Rewriting = Rewriting()
    answer: Answering = Answering()
    sql: SqlTrack = SqlTrack()
    select: Selection = Selection()
    verify: Verification = Verification()
    sft: Training = Training()
    capture: Capture = Capture()
    kd: Distillation = Distillation()
    evaluate: Evaluation = Evaluation()
    hardware: Hardware = Hardware()

    @model_validator(mode="after")
    def _is_possible(self) -> Recipe:
        scorer = self.scorer or self.teacher
        if scorer.kind in ("openai", "anthropic") and {"capture", "kd"} & set(self.stages):
            raise ValueError(
                f"the teacher is an API ({scorer.kind}), which cannot score tokens: name a `scorer`, or "
                "leave the stages capture and kd out"
            )
        online = self.capture.online and scorer.kind == "transformers"
        if (self.kd.hidden_weight or self.kd.attention_weight) and not online:
            raise ValueError(
                "hidden_weight and attention_weight need `capture: {online: true}` and a transformers teacher"
            )
        if self.capture.draws and scorer.kind == "vllm":
            raise ValueError(
                "vLLM reports the top K only; sampled targets need a transformers or llamacpp teacher"
            )
        return self

    @property
    def digest(self) -> str:
        """Hash of everything in it."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def load(name: str) -> tuple[Recipe, Path]:
    """A recipe file, or a shipped recipe by its name; and the folder its paths are relative to.

    Raises NotFound with what there is, Unprocessable naming the line or the key that is wrong.
    """
    path = Path(name)
    if not path.is_file():
        path = SHIPPED / f"{name}.yaml"
        if not path.is_file():
            raise NotFound(f"there is no recipe {name}: give a YAML file, or one of {', '.join(shipped())}")
    return parse(path.read_text(encoding="utf-8"), str(path)), path.resolve().parent


def shipped() -> list[str]:
    """Names of the recipes that come with the product."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def described() -> list[tuple[str, str, str]]:
    """(setting, default, meaning) of everything in a recipe, parts by their dotted names."""
    return list(_described(Recipe, ""))


def _described(part: type[Part], at: str) -> Iterator[tuple[str, str, str]]:
    for name, field in part.model_fields.items():
        default = "required" if field.is_required() else field.get_default(call_default_factory=True)
        inner = next((one for one in (field.annotation, *get_args(field.annotation)) if _is_part(one)), None)
        if inner is None or isinstance(default, tuple):
            yield f"{at}{name}", _plain(default), field.description or ""
        if inner is not None:
            yield from _described(inner, f"{at}{name}.")


def _is_part(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Part)


def _plain(default: object) -> str:
    return default if isinstance(default, str) and default else json.dumps(default, ensure_ascii=False)


def parse(text: str, where: str) -> Recipe:
    """A recipe from YAML; Unprocessable names `where` and the key that is wrong."""
    import yaml

    try:
        data: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Unprocessable(f"{where} is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise Unprocessable(f"{where}: a recipe is a mapping of settings, such as `name: my-student`")
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        told = "; ".join(_told(one) for one in error.errors()[:5])
        raise Unprocessable(f"{where}: {told}") from error


def _told(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"]) or "recipe"
    if error["type"] == "extra_forbidden":
        return f"unknown key {place}"
    return f"{place}: {error['msg'].removeprefix('Value error, ')}"
