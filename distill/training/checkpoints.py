"""Checkpoints from which a training goes on bit for bit: weights, optimiser, random numbers, place in the plan.

    FOLDER/checkpoints/step-00000100/state.json, rng-RANK.safetensors, what the engine keeps

A folder is written aside, fsynced and renamed; the last two are kept. The data's order is no part of one:
it follows from the seed. Knows no engine from the inside.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from distill.training import tensor_files
from distill.training.engine import Engine
from distill.training.job import HeldOut
from serve.errors import Conflict, Unprocessable
from serve.files import move_into_place

KEPT = 2


@dataclass(frozen=True, slots=True)
class State:
    """Where a training stands."""

    steps: int
    """Optimiser steps done."""
    ranks: int
    fingerprint: str
    """Of the job."""
    seconds: float
    """Trained so far."""
    before: HeldOut | None
    """The measurement at the start."""


class Checkpoints:
    """The checkpoints of one training."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def latest(self, fingerprint: str, ranks: int) -> tuple[Path, State] | None:
        """The newest one. Conflict where it belongs to another job or another number of ranks."""
        folders = self._all()
        if not folders:
            return None
        newest = folders[-1]
        state = self._state(newest)
        if state.fingerprint != fingerprint:
            raise Conflict(
                f"{newest} was made with other settings, examples or another student; delete {self._folder} to begin "
                "anew"
            )
        if state.ranks != ranks:
            raise Conflict(
                f"{newest} was made by {state.ranks} ranks and the training has {ranks} now: start it with "
                f"{state.ranks}, or delete {self._folder} to begin anew"
            )
        return newest, state

    def write(self, engine: Engine, state: State) -> None:
        """Called by all ranks after the same step."""
        path = self._folder / f"step-{state.steps:08d}"
        aside = self._folder / f".{path.name}"
        if engine.rank == 0:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        engine.barrier()
        engine.save(aside)
        tensor_files.save(aside / f"rng-{engine.rank}.safetensors", _random_state(engine.device))
        engine.barrier()
        if engine.rank == 0:
            (aside / "state.json").write_text(json.dumps(asdict(state)), encoding="utf-8")
            tensor_files.sync_tree(aside)
            shutil.rmtree(path, ignore_errors=True)
            move_into_place(aside, path)
            for old in self._all()[:-KEPT]:
                shutil.rmtree(old)
        engine.barrier()

    def read(self, engine: Engine, path: Path) -> None:
        """Weights, optimiser and random numbers out of a checkpoint."""
        engine.load(path)
        _set_random_state(tensor_files.load(path / f"rng-{engine.rank}.safetensors"), engine.device)

    def _all(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))

    def _state(self, path: Path) -> State:
        try:
            data = json.loads((path / "state.json").read_text(encoding="utf-8"))
            before = HeldOut(**data.pop("before")) if data["before"] else data.pop("before")
            return State(**data, before=before)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unprocessable(
                f"{path} is damaged ({error}): delete it, and training goes on from the checkpoint before"
            ) from error


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def _set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
