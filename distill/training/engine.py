"""What a step does with gradients, in one process: sum them, clip, AdamW, keep and take back the state.

Float32 throughout: at a learning rate of 1e-5 an update is smaller than bfloat16 can add to a weight, and would
be lost. So weights that are learned, their gradients and AdamW's moments are float32 and only the
computation is bfloat16 (autocast): 16 bytes a learned parameter. Frozen weights beside an adapter are held in
bfloat16. `deepspeed_engine` is the same for several ranks. Knows neither data nor loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from distill.recipe import Training
from distill.training import tensor_files
from distill.training.learner import Learner

BETAS = (0.9, 0.95)
"""AdamW's decays, as language models are usually trained with."""


class Measuring(Protocol):
    """What a measurement needs of an engine."""

    rank: int
    ranks: int
    device: torch.device
    learner: Learner
    """For reading; passes go through `forward`."""

    def forward(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        """`Learner.forward`."""

    def total(self, values: Tensor) -> Tensor:
        """Sum over the ranks."""


class Engine(Measuring, Protocol):
    """One process, or one rank of several."""

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradient of `loss`; `last`: this rank's last pass of the step."""

    def step(self, learning_rate: float) -> float:
        """Update the weights by the gradients of all ranks' losses summed. Returns their norm before clipping."""

    def save(self, folder: Path) -> None:
        """Weights and optimiser into an existing folder; called by all ranks."""

    def load(self, folder: Path) -> None:
        """Undo of `save`, bit for bit."""

    def weights(self, dtype: torch.dtype) -> dict[str, Tensor] | None:
        """The student's whole weights as `dtype` on the CPU, by parameter name (learned ones only where some are
        frozen); None on all ranks but the first."""

    def barrier(self) -> None: ...


def optimiser(learner: nn.Module, settings: Training) -> torch.optim.AdamW:
    """AdamW over what is learned; weight decay on matrices only."""
    learned = [weight for weight in learner.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in learned if weight.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [weight for weight in learned if weight.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=BETAS, fused=True)


class PlainEngine:
    """Plain PyTorch on one device."""

    rank = 0
    ranks = 1

    def __init__(self, learner: Learner, settings: Training, device: torch.device) -> None:
        self.device = device
        self.learner = learner
        self._clip_norm = settings.clip_norm
        self._optimiser = optimiser(learner, settings)
        # By the student's own names, then what is learned beside it: transfer's projections.
        self._learned = {
            name.removeprefix("student."): weight
            for name, weight in learner.named_parameters()
            if weight.requires_grad
        }

    def forward(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.learner(*arguments)
        return found

    def backward(self, loss: Tensor, *, last: bool) -> None:
        del last
        loss.backward()  # type: ignore[no-untyped-call]

    def step(self, learning_rate: float) -> float:
        norm = nn.utils.clip_grad_norm_(self._learned.values(), self._clip_norm)
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate
        if torch.isfinite(norm):
            self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        return float(norm)

    def total(self, values: Tensor) -> Tensor:
        return values

    def save(self, folder: Path) -> None:
        tensor_files.save(folder / "weights.safetensors", dict(self._learned))
        moments = {
            f"{name}/{key}": value
            for name, weight in self._learned.items()
            for key, value in self._optimiser.state[weight].items()
        }
        tensor_files.save(folder / "optimiser.safetensors", moments)

    def load(self, folder: Path) -> None:
        weights = tensor_files.load(folder / "weights.safetensors")
        with torch.no_grad():
            for name, weight in self._learned.items():
                weight.copy_(weights.pop(name))
        for key, value in tensor_files.load(folder / "optimiser.safetensors").items():
            name, _, moment = key.rpartition("/")
            weight = self._learned[name]
            # A step count that is not on the weight's device is what AdamW itself keeps (unless fused).
            self._optimiser.state[weight][moment] = value.to(weight.device)

    def weights(self, dtype: torch.dtype) -> dict[str, Tensor] | None:
        return {
            name: weight.detach().to("cpu", dtype)
            for name, weight in self.learner.student.named_parameters()
            if weight.requires_grad
        }

    def barrier(self) -> None:
        return None


@contextmanager
def evaluating(engine: Measuring) -> Iterator[None]:
    """No dropout, no gradients."""
    engine.learner.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        engine.learner.train()
