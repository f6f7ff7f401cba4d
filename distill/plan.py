"""What a recipe will take: records, tokens, time, money, memory and disk, stage by stage, before it runs.

An estimate from published sizes and stated rates (`ASSUMPTIONS`), not a measurement; `status` shows what a run
really took. FLOPs: 2 N a token forward and 6 N with the backward pass, N the parameters (Kaplan et al.,
arXiv 2001.08361); memory of mixed-precision training: 2 + 2 + 12 bytes a parameter (Rajbhandari et al., ZeRO,
arXiv 1910.02054).
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from distill import imports
from distill.recipe import STAGES, Recipe, Teacher, Training
from serve.errors import Unprocessable


@dataclass(frozen=True, slots=True)
class Device:
    """A processor: bf16 FLOP/s at its peak, memory in bytes and its bytes a second."""

    flops: float
    memory: float
    bandwidth: float


DEVICES = {
    "A800-80G": Device(312e12, 80e9, 2.0e12),
    "A100-80G": Device(312e12, 80e9, 2.0e12),
    "H100-80G": Device(989e12, 80e9, 3.35e12),
    "H200": Device(989e12, 141e9, 4.8e12),
    "L40S": Device(362e12, 48e9, 0.86e12),
    "RTX4090": Device(165e12, 24e9, 1.0e12),
}
"""Vendors' data sheets, dense bf16."""
CPU = Device(0.7e12, 24e9, 30e9)
"""Two AVX-512 cores with bf16 instructions."""

_SHAPES = {
    0.5: (0.494e9, 24, 896),
    1.5: (1.54e9, 28, 1536),
    3.0: (3.09e9, 36, 2048),
    7.0: (7.62e9, 28, 3584),
    14.0: (14.8e9, 48, 5120),
    32.0: (32.8e9, 64, 5120),
    72.0: (72.7e9, 80, 8192),
}
"""Qwen2.5 by nominal size: parameters, layers, hidden size (technical report, arXiv 2412.15115)."""

TRAIN_UTILISATION = 0.40
SCORE_UTILISATION = 0.45
DECODE_UTILISATION = 0.15
ASSUMPTIONS = (
    f"training reaches {TRAIN_UTILISATION:.0%} of the peak FLOP/s, scoring {SCORE_UTILISATION:.0%}, batched "
    f"generation {DECODE_UTILISATION:.0%}",
    "a token costs 2 N FLOPs forward, 6 N with backward, 8 N with gradient checkpointing (N: parameters)",
    "an instruction has 60 tokens, an agent's question 250, an answer half of its limit but at most 400 tokens",
    "a statement of the SQL track makes one record for each thing asked of it, of 500 tokens, 40 of them learned",
)
_INSTRUCTION, _QUESTION, _ANSWER_AT_MOST, _SQL_RECORD, _SQL_LEARNED = 60, 250, 400, 500, 40
_STATE_BYTES, _WEIGHT_BYTES, _GRADIENT_BYTES = 12, 2, 2
_STORE_BYTES = 52
_DIMINISHING_B, _BEST_VALUE_B = 72.0, 32.0
_FLAT_RECORDS = 100_000


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage: what it handles and what that takes."""

    stage: str
    records: int
    prompt_tokens: int = 0
    """Read by a teacher, or scored."""
    completion_tokens: int = 0
    """Written by a teacher."""
    learned_tokens: int = 0
    """Passed through the student in all epochs."""
    hours: float = 0.0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The estimate for a recipe."""

    recipe: str
    hardware: str
    stages: list[StagePlan]
    memory_per_gpu_gb: dict[str, float]
    """Stage → GB (10^9 bytes) on each device, of `memory_gb` that it has."""
    memory_gb: float
    store_gb: float
    hours: float
    cost_usd: float
    advice: list[str] = field(default_factory=list)
    assumptions: tuple[str, ...] = ASSUMPTIONS

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Size:
    parameters: float
    layers: int
    hidden: int


def plan(recipe: Recipe, base: Path) -> Plan:
    """Estimate `recipe`, whose seed files are relative to `base`.

    Unprocessable for a GPU that is not known or a model whose size cannot be told from its name.
    """
    device, count, hardware = _hardware(recipe)
    student = _size(recipe.student.parameters_b, recipe.student.model, "student")
    stages = [one for one in _stages(recipe, base, student, device, count) if one.stage in recipe.stages]
    memory = _memory(recipe, student, count)
    scored = next((one for one in stages if one.stage == "capture"), None)
    store = (
        0.0 if scored is None or recipe.capture.online else _positions(stages) * _store_bytes(recipe) / 1e9
    )
    done = Plan(
        recipe=recipe.name,
        hardware=hardware,
        stages=stages,
        memory_per_gpu_gb={name: round(value / 1e9, 2) for name, value in memory.items()},
        memory_gb=device.memory / 1e9,
        store_gb=round(store, 4),
        hours=round(sum(one.hours for one in stages), 3),
        cost_usd=round(sum(one.cost_usd for one in stages), 2),
    )
    done.advice.extend(_advice(recipe, done, student))
    return done


def _hardware(recipe: Recipe) -> tuple[Device, int, str]:
    wanted = recipe.hardware
    if wanted.gpus == 0:
        return CPU, 1, "CPU, 2 cores"
    if wanted.gpu not in DEVICES:
        raise Unprocessable(f"unknown GPU {wanted.gpu}; known: {', '.join(DEVICES)}", param="hardware.gpu")
    return DEVICES[wanted.gpu], wanted.gpus, f"{wanted.gpus}×{wanted.gpu}"


def _size(stated: float, model: str, whose: str) -> _Size:
    """Parameters and shape, as stated or by the number before a B in the name."""
    named = re.search(r"(\d+(?:\.\d+)?)[bB](?![a-zA-Z0-9])", Path(model).name)
    if not stated and not named:
        raise Unprocessable(
            f"the size of the {whose} {model} cannot be told from its name: give `parameters_b`",
            param=f"{whose}.parameters_b",
        )
    size = stated or float(named[1] if named else 0)
    nearest = min(_SHAPES, key=lambda known: abs(known - size))
    parameters, layers, hidden = _SHAPES[nearest]
    return _Size(parameters * size / nearest, layers, hidden)


def _stages(recipe: Recipe, base: Path, student: _Size, device: Device, count: int) -> list[StagePlan]:
    """All stages, as if the recipe had each of them; those it lacks hand their records on."""
    has = set(recipe.stages)
    answer_tokens = min(recipe.answer.max_tokens // 2, _ANSWER_AT_MOST)
    reckon = _Reckoner(recipe, device, count)
    seeds = _seeds(recipe, base)
    records = seeds if "seed" in has else 0
    found = [StagePlan("seed", records)]
    expanded = round(records * recipe.expand.per_seed) + recipe.expand.new_per_category * 8
    records += expanded if "expand" in has else 0
    found.append(reckon.asked("expand", records, expanded, 2 * _INSTRUCTION))
    rewritten = records * recipe.rewrite.paraphrases
    checks = 2 if recipe.rewrite.check_paraphrases else 1
    records += rewritten if "rewrite" in has else 0
    found.append(reckon.asked("rewrite", records, rewritten * checks, _INSTRUCTION))
    asked = records * recipe.answer.draws
    records = asked if "answer" in has else records
    found.append(reckon.asked("answer", records, asked, answer_tokens, prompt=_INSTRUCTION))
    statements, sql_records = _sql(recipe)
    chats = records
    records += sql_records if "sql" in has else 0
    found.append(reckon.asked("sql", records, statements, 60))
    kept = min(records, recipe.select.budget) if recipe.select.budget and "select" in has else records
    judged = records if recipe.select.judge else 0
    found.append(reckon.asked("select", kept, judged, 10))
    votes = kept * recipe.verify.votes if recipe.verify.vote else 0
    found.append(reckon.asked("verify", kept, votes, 10))
    share = chats / records if records else 0.0
    chat_tokens = kept * share * (_INSTRUCTION + answer_tokens)
    sql_tokens = kept * (1 - share) * _SQL_RECORD
    found.append(reckon.learned("sft", kept, chat_tokens + sql_tokens, recipe.sft, student))
    found.append(reckon.scored("capture", kept, chat_tokens + sql_tokens))
    found.append(reckon.learned("kd", kept, chat_tokens + sql_tokens, recipe.kd, student))
    found.append(StagePlan("evaluate", recipe.evaluate.cases))
    assert [one.stage for one in found] == list(STAGES)
    return found


def _seeds(recipe: Recipe, base: Path) -> int:
    from distill.stages.seed import seed_path

    total = 0
    for seeds in recipe.seeds:
        records, _ = imports.read(seed_path(seeds, base), seeds.format)
        total += min(len(records), seeds.limit) if seeds.limit else len(records)
    return total


def _sql(recipe: Recipe) -> tuple[int, int]:
    track = recipe.sql
    statements = track.schemas * track.questions_per_schema
    each = 1 + track.fim_per_statement + track.broken_per_statement + track.joins + track.conditions
    return statements, statements * each


@dataclass(frozen=True, slots=True)
class _Reckoner:
    """Time and money of one kind of work."""

    recipe: Recipe
    device: Device
    count: int

    def asked(
        self, stage: str, records: int, asks: int, completion: int, prompt: int = _QUESTION
    ) -> StagePlan:
        teacher = self.recipe.teacher
        prompts, completions = asks * prompt, asks * completion
        if teacher.kind in ("openai", "anthropic"):
            cost = (prompts * teacher.price.prompt + completions * teacher.price.completion) / 1e6
            hours = asks * 5.0 / teacher.concurrency / 3600
            return StagePlan(
                stage, records, prompts, completions, hours=round(hours, 3), cost_usd=round(cost, 2)
            )
        flops = 2 * _teacher_size(teacher).parameters
        seconds = prompts * flops / (SCORE_UTILISATION * self._flops)
        seconds += completions * flops / (DECODE_UTILISATION * self._flops)
        return StagePlan(stage, records, prompts, completions, 0, *self._time(seconds))

    def scored(self, stage: str, records: int, tokens: float) -> StagePlan:
        scorer = self.recipe.scorer or self.recipe.teacher
        if scorer.kind in ("openai", "anthropic"):
            return StagePlan(stage, records)
        seconds = tokens * 2 * _teacher_size(scorer).parameters / (SCORE_UTILISATION * self._flops)
        return StagePlan(stage, records, round(tokens), 0, 0, *self._time(seconds))

    def learned(self, stage: str, records: int, tokens: float, how: Training, student: _Size) -> StagePlan:
        passed = tokens * how.epochs * (1 - how.held_out)
        factor = 8 if how.gradient_checkpointing else 6
        seconds = passed * factor * student.parameters / (TRAIN_UTILISATION * self._flops)
        return StagePlan(stage, records, 0, 0, round(passed), *self._time(seconds))

    @property
    def _flops(self) -> float:
        return self.device.flops * self.count

    def _time(self, seconds: float) -> tuple[float, float]:
        """(hours, US dollars)."""
        hours = seconds / 3600
        cost = hours * self.count * self.recipe.hardware.gpu_hour_usd
        return round(hours, 4), round(cost, 2)


def _teacher_size(teacher: Teacher) -> _Size:
    return _size(teacher.parameters_b, teacher.model, "teacher")


def _positions(stages: list[StagePlan]) -> float:
    """Positions in the store: the responses' share of the scored tokens."""
    scored = next(one for one in stages if one.stage == "capture")
    sql = next((one for one in stages if one.stage == "sql"), None)
    share = 0.6 if sql is None or not sql.completion_tokens else 0.3
    return scored.prompt_tokens * share


def _store_bytes(recipe: Recipe) -> float:
    return 2 + 5 * (recipe.capture.draws or recipe.capture.top_k)


def _memory(recipe: Recipe, student: _Size, count: int) -> dict[str, float]:
    """Bytes on each device for the stages that hold a model."""
    found: dict[str, float] = {}
    for name, how in (("sft", recipe.sft), ("kd", recipe.kd)):
        if name in recipe.stages:
            found[name] = _training_bytes(recipe, how, student, count)
    scorer = recipe.scorer or recipe.teacher
    for name, teacher in (("answer", recipe.teacher), ("capture", scorer)):
        if name in recipe.stages and teacher.kind not in ("openai", "anthropic"):
            weight = 0.6 if teacher.kind == "llamacpp" else 2.0
            found[name] = _teacher_size(teacher).parameters * weight / teacher.tensor_parallel * 1.2
    return found


def _training_bytes(recipe: Recipe, how: Training, student: _Size, count: int) -> float:
    ranks = max(1, count)
    trained = student.parameters
    if recipe.student.lora is not None:
        trained = student.layers * 14 * student.hidden * 2 * recipe.student.lora.rank
    weights, gradients, state = (
        student.parameters * _WEIGHT_BYTES,
        trained * _GRADIENT_BYTES,
        trained * _STATE_BYTES,
    )
    if how.zero_stage >= 1:
        state /= ranks
    if how.zero_stage >= 2:
        gradients /= ranks
    if how.zero_stage >= 3:
        weights /= ranks
    if how.offload != "none":
        state = 0.0
    if how.offload == "parameters":
        weights = 0.0
    kept = student.layers if how.gradient_checkpointing else student.layers * 14
    activations = how.micro_tokens * student.hidden * 2 * (kept + 34)
    return weights + gradients + state + activations + 1e9


def _advice(recipe: Recipe, done: Plan, student: _Size) -> list[str]:
    told = []
    for name, need in done.memory_per_gpu_gb.items():
        if need > done.memory_gb:
            told.append(
                f"{name} needs {need:.0f} GB a device and there are {done.memory_gb:.0f}: use a higher zero_stage, "
                "offload, tensor_parallel, fewer micro_tokens, or LoRA"
            )
    teacher = recipe.teacher
    if teacher.kind not in ("openai", "anthropic"):
        size = _teacher_size(teacher).parameters / 1e9
        if size > _DIMINISHING_B * 0.9:
            told.append(
                f"a teacher of {size:.0f}B: beyond 32B students gain little (DistilQwen2.5, arXiv 2504.15027), for "
                "more than twice the time; 32B is the best value, `distilsql distill sweep` measures it on your data"
            )
        elif size < _BEST_VALUE_B * 0.9 and recipe.hardware.gpus >= 4:
            told.append(
                f"a teacher of {size:.0f}B on {done.hardware}: a 32B teacher fits and is the best value for "
                "students of up to 7B"
            )
        if size * 1e9 < student.parameters * 1.5:
            told.append(f"the teacher ({size:.1f}B) is hardly larger than the student: expect little")
    records = max((one.records for one in done.stages), default=0)
    if records > _FLAT_RECORDS:
        told.append(
            f"{records:,} records: gains flatten past 100,000; better records (selection, verification) help more than "
            "more of them"
        )
    elif records < 1000:
        told.append(f"{records:,} records are few: good for a try; 10,000 to 100,000 is where students gain")
    return told
