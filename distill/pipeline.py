"""Runs a recipe's stages in order: done ones are skipped, an interrupted one goes on.

Knows which function each stage is, and nothing of what it does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill import record_files
from distill.recipe import STAGES, Recipe
from distill.records import Record, Rejection
from distill.runs import Manifest, RunFolder, StageRun, file_hash, read_manifest, stage_seed
from serve.errors import NotFound, Unprocessable
from serve.settings import Settings

if TYPE_CHECKING:
    from distill.asking import Asking
    from distill.recipe import Teacher
    from distill.teachers.base import Ask, Generator, Scorer

RECORDS = "records"
RECORD_STAGES = STAGES[: STAGES.index("sft")]
"""Those that hand records on."""
_MODULES = {
    "seed": "distill.stages.seed",
    "expand": "distill.stages.expand",
    "rewrite": "distill.stages.rewrite",
    "answer": "distill.stages.answer",
    "sql": "distill.stages.sql",
    "select": "distill.stages.select",
    "verify": "distill.stages.verify",
    "sft": "distill.stages.sft",
    "capture": "distill.stages.capture",
    "kd": "distill.stages.kd",
    "evaluate": "distill.stages.evaluate",
}
Say = Callable[[str], None]


@dataclass
class Context:
    """What a stage works with."""

    run: RunFolder
    base: Path
    """The folder that the recipe's paths are relative to."""
    settings: Settings
    stage: StageRun
    say: Say
    _teachers: dict[str, Any] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        return self.run.recipe

    def records(self) -> list[Record]:
        """What the last record stage before this one made. NotFound where there is none yet."""
        name = self._record_stage()
        if name is None:
            return []
        folder = self.run.folder(name) / RECORDS
        if self.run.manifest(name) is None:
            raise NotFound(
                f"stage {name} is not done yet: run `distilsql distill {name} ... --run {self.run.path}`"
            )
        self.stage.inputs |= {
            f"{name}/{path.name}": file_hash(path) for path in sorted(folder.glob("shard-*"))
        }
        return record_files.read_records(folder)

    def _record_stage(self) -> str | None:
        before = STAGES[: STAGES.index(self.stage.name)]
        chosen = self.recipe.stages
        return next((name for name in reversed(before) if name in chosen and name in RECORD_STAGES), None)

    def hand_on(
        self,
        records: Iterable[Record],
        rejections: Iterable[Rejection] = (),
        metrics: dict[str, Any] | None = None,
    ) -> None:
        """Write what a record stage has made; a content that came twice is kept once."""
        unique = {record.id: record for record in records}
        dropped = list(rejections)
        hashes = record_files.write_records(self.stage.folder / RECORDS, unique.values())
        record_files.write_rejections(self.stage.folder / "rejected.jsonl", dropped)
        self.stage.outputs |= {f"{RECORDS}/{name}": one for name, one in hashes.items()}
        self.stage.metrics |= {**(metrics or {}), "records": len(unique), "rejected": len(dropped)}

    def teacher(self, settings: Teacher | None = None) -> Generator:
        """The recipe's teacher (or another one) for questions; loaded once."""
        from distill.teachers.factory import open_teacher

        wanted = settings or self.recipe.teacher
        key = f"generate {wanted.model_dump_json()}"
        if key not in self._teachers:
            self._teachers[key] = open_teacher(wanted, cache=self.run.path / "replies.sqlite3")
        found: Generator = self._teachers[key]
        return found

    def scorer(self) -> Scorer:
        """The model that scores tokens; loaded once."""
        from distill.teachers.factory import open_scorer

        if "score" not in self._teachers:
            self._teachers["score"] = open_scorer(self.recipe.scorer or self.recipe.teacher)
        found: Scorer = self._teachers["score"]
        return found

    def spent(self, asking: Asking) -> None:
        """Count what was asked."""
        self.stage.prompt_tokens += asking.prompt_tokens
        self.stage.completion_tokens += asking.completion_tokens
        self.stage.cost_usd += asking.cost_usd
        if asking.failures:
            self.stage.metrics["failed_asks"] = self.stage.metrics.get("failed_asks", 0) + asking.failures

    def close(self) -> None:
        """Free the models."""
        for one in self._teachers.values():
            one.close()
        self._teachers.clear()


def run(
    recipe: Recipe,
    base: Path,
    folder: Path,
    settings: Settings,
    *,
    only: str | None = None,
    until: str | None = None,
    say: Say,
) -> dict[str, Manifest]:
    """Run the stages of `recipe` in `folder` (`only` one, or up to `until`); the manifests of those done.

    Conflict when the folder belongs to another recipe or another process. What a stage raises ends the
    run; the same call goes on behind what was finished.
    """
    for name in (only, until):
        if name is not None and name not in recipe.stages:
            raise Unprocessable(
                f"recipe {recipe.name} has no stage {name}; it has {', '.join(recipe.stages)}"
            )
    wanted: list[str] = [name for name in STAGES if name in recipe.stages]
    if only is not None:
        wanted = [only]
    elif until is not None:
        wanted = wanted[: wanted.index(until) + 1]
    done: dict[str, Manifest] = {}
    with RunFolder(folder, recipe) as kept:
        for name in wanted:
            manifest = kept.manifest(name)
            if manifest is None:
                _run_stage(kept, base, settings, name, say)
                manifest = kept.manifest(name)
                assert manifest is not None
                say(f"{name}: done in {manifest.wall_s:.0f} s: {told(manifest)}")
            else:
                say(f"{name}: done before: {told(manifest)}")
            done[name] = manifest
    return done


def preview(recipe: Recipe, base: Path, folder: Path, settings: Settings, stage: str) -> list[Ask]:
    """What a stage would ask first; nothing is asked and nothing is written into its folder."""
    module = importlib.import_module(_MODULES[stage])
    if not hasattr(module, "preview"):
        raise Unprocessable(f"stage {stage} asks no teacher, so there is nothing to show")
    with RunFolder(folder, recipe) as kept:
        stage_run = StageRun(stage, kept.folder(stage), stage_seed(recipe.seed, stage))
        context = Context(kept, base, settings, stage_run, say=lambda _: None)
        asks: list[Ask] = module.preview(context)
        return asks


def _run_stage(kept: RunFolder, base: Path, settings: Settings, name: str, say: Say) -> None:
    part = {"seed": "seeds"}.get(name, name)
    chosen = kept.recipe.model_dump(mode="json")[part]
    with kept.running(name, chosen if isinstance(chosen, dict) else {part: chosen}) as stage:
        context = Context(kept, base, settings, stage, say)
        try:
            importlib.import_module(_MODULES[name]).run(context)
        finally:
            context.close()


def told(manifest: Manifest) -> str:
    """A stage's result in a line."""
    numbers = {key: value for key, value in manifest.metrics.items() if isinstance(value, (int, float))}
    shown = [
        f"{key} {value:,.4g}" if isinstance(value, float) else f"{key} {value:,}"
        for key, value in numbers.items()
    ]
    if manifest.completion_tokens:
        shown.append(f"{manifest.completion_tokens:,} tokens written by the teacher")
    if manifest.cost_usd:
        shown.append(f"{manifest.cost_usd:.2f} USD")
    return ", ".join(shown[:8]) or "no figures"


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One line of `status`."""

    stage: str
    state: str
    """`done`, `begun` (running, or interrupted), `waiting`."""
    wall_s: float
    told: str


def status(folder: Path, recipe: Recipe) -> list[StageStatus]:
    """How far each stage of a run is; reads only, so it may be asked while the run goes on."""
    found = []
    for name in (name for name in STAGES if name in recipe.stages):
        manifest = read_manifest(folder, name)
        if manifest is not None:
            found.append(StageStatus(name, "done", manifest.wall_s, told(manifest)))
            continue
        begun = folder / name
        journal = begun / "journal.jsonl"
        if not begun.exists():
            found.append(StageStatus(name, "waiting", 0.0, ""))
        else:
            lines = journal.read_bytes().count(b"\n") if journal.is_file() else 0
            found.append(StageStatus(name, "begun", 0.0, f"{lines} replies in the journal" if lines else ""))
    return found
