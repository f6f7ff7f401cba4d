"""The whole training ahead: which examples each optimiser step learns, in which passes, on which rank.

All of it follows from the lengths, the settings and the seed, so that a resumed run, another number of ranks
or another micro batch size learns the same examples in the same steps, and the number of targets of a step
is known before its first forward pass. Knows no tokens and no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distill.examples import Example
from distill.training.packing import pack


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step."""

    number: int
    """From 0."""
    epoch: float
    """Passes over the data finished when it is done."""
    examples: tuple[int, ...]
    """Indices into the job's examples, in the epoch's order."""
    tokens: int
    targets: int
    """Target tokens on all ranks together: what the step's summed loss is divided by."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One packed forward and backward pass."""

    examples: tuple[int, ...]
    idle: bool = False
    """Only there because the other ranks compute: counts nothing and its gradient is zero."""


class StepPlan:
    """All steps of a training."""

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        epochs: float,
        step_tokens: int,
        micro_tokens: int,
        seed: int,
    ) -> None:
        self._lengths = [len(example.ids) for example in examples]
        self._targets = [len(example.positions) for example in examples]
        self._micro_tokens = micro_tokens
        self.steps: tuple[Step, ...] = tuple(self._steps(epochs, step_tokens, seed))
        self.tokens = sum(step.tokens for step in self.steps)
        self.targets = sum(step.targets for step in self.steps)

    def _steps(self, epochs: float, step_tokens: int, seed: int) -> list[Step]:
        steps: list[Step] = []
        count = len(self._lengths)
        for epoch in range(int(np.ceil(epochs))):
            order = np.random.default_rng([seed, epoch]).permutation(count)
            share = min(1.0, epochs - epoch)
            order = order[: max(1, round(count * share))]
            seen = 0
            for group in self._cut(order.tolist(), step_tokens):
                seen += len(group)
                steps.append(
                    Step(
                        number=len(steps),
                        epoch=epoch + seen / count,
                        examples=tuple(group),
                        tokens=sum(self._lengths[index] for index in group),
                        targets=sum(self._targets[index] for index in group),
                    )
                )
        return steps

    def _cut(self, order: list[int], step_tokens: int) -> list[list[int]]:
        """`order` in even groups of about `step_tokens`; an epoch never ends in a sliver of a step."""
        total = sum(self._lengths[index] for index in order)
        groups = max(1, round(total / step_tokens))
        cut: list[list[int]] = [[] for _ in range(groups)]
        before = 0
        for index in order:
            middle = before + self._lengths[index] / 2
            cut[min(groups - 1, int(middle * groups / total))].append(index)
            before += self._lengths[index]
        return [group for group in cut if group]

    def passes(self, step: Step, rank: int = 0, ranks: int = 1) -> list[Pass]:
        """This rank's passes: disjoint from the other ranks', as many as theirs, together the whole step."""
        lengths = [self._lengths[index] for index in step.examples]
        shortest = min(step.examples, key=lambda index: self._lengths[index])
        mine = pack(lengths, self._micro_tokens, ranks)[rank::ranks]
        return [
            Pass(tuple(step.examples[at] for at in bin)) if bin else Pass((shortest,), idle=True)
            for bin in mine
        ]


def cosine(step: int, steps: int, peak: float, warmup: float) -> float:
    """Learning rate of step `step` (from 0) of `steps`: rising over the share `warmup`, then half a cosine wave
    from `peak` down to a tenth of it at the last step."""
    rising = round(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    way = (step - rising) / max(1, steps - 1 - rising)
    return float(peak * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * way))))
