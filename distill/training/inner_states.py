"""A packed pass through a model with its inner states kept, and a frozen teacher that takes it beside the student.

Knows no loss over tokens and no optimiser.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill.losses.transfer import LayerPairs, States, Transfer, layer_pairs, select
from distill.recipe import Distillation
from distill.training import attention
from distill.training.batch import Batch
from serve.errors import Unprocessable


def causal_model(model: Any) -> Any:
    """The causal model itself, adapters in its layers, of a transformers or PEFT model."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def run(model: Any, batch: Batch, **keep: Any) -> Any:
    """A causal model's output below its output matrix, for the whole row; `last_hidden_state` is [1, T, H]."""
    return model.get_decoder()(
        input_ids=batch.ids,
        position_ids=batch.places,
        use_cache=False,
        **attention.bounds_arguments(batch.bounds, batch.longest),
        **keep,
    )


def run_keeping(model: Any, batch: Batch, layers: Sequence[int], *, maps: bool) -> tuple[Tensor, States]:
    """([1, T, H] final hidden states, states of the learned rows in these rising layers).

    With `maps` the model must attend by `attention.use(..., maps=True)`; Unprocessable where it keeps none.
    """
    keep = {"output_attentions": True, "maps_of": frozenset(layers)} if maps else {}
    output = run(model, batch, output_hidden_states=True, **keep)
    if maps:
        # transformers lists the maps it was given, without a place for the other layers.
        given = dict(zip(layers, output.attentions or (), strict=False))
        output.attentions = tuple(given.get(layer) for layer in range(max(layers) + 1))
    final: Tensor = output.last_hidden_state
    return final, select(output, torch.zeros_like(batch.rows), batch.rows, layers)


@dataclass(frozen=True)
class TeacherBeside:
    """A frozen teacher, and what the student learns of its inner states.

    No nn.Module, so that the teacher's weights are in no optimiser, no checkpoint and never in training mode; the
    learner registers `transfer`, whose projections are learned.
    """

    teacher: Any
    """A causal model."""
    transfer: Transfer
    pairs: LayerPairs

    @classmethod
    def of(cls, student: Any, teacher: Any, settings: Distillation, *, real_vocabulary: int) -> TeacherBeside:
        """For two loaded models on one device; new projections. Unprocessable for another vocabulary."""
        ours, theirs = causal_model(student).config, causal_model(teacher).config
        if theirs.vocab_size < real_vocabulary:
            raise Unprocessable(
                f"the teacher has {theirs.vocab_size} tokens and the student {real_vocabulary}: hidden_weight and "
                "attention_weight need a teacher with the student's vocabulary"
            )
        pairs = layer_pairs(ours.num_hidden_layers, theirs.num_hidden_layers)
        transfer = Transfer(
            ours.hidden_size,
            theirs.hidden_size,
            len(pairs),
            hidden_weight=settings.hidden_weight,
            attention_weight=settings.attention_weight,
        )
        frozen = causal_model(teacher).requires_grad_(False).eval()
        attention.use(frozen, maps=settings.attention_weight > 0)
        return cls(frozen, transfer.to(frozen.device), pairs)

    @property
    def maps(self) -> bool:
        """Whether attention is compared."""
        return self.transfer.attention_weight > 0

    def student_states(self, student: Any, batch: Batch) -> tuple[Tensor, States]:
        """`run_keeping` of the student's layers."""
        return run_keeping(student, batch, [ours for ours, _ in self.pairs], maps=self.maps)

    @torch.no_grad()
    def teacher_states(self, batch: Batch) -> States:
        return run_keeping(self.teacher, batch, [theirs for _, theirs in self.pairs], maps=self.maps)[1]
