"""A student with its loss as one module: a packed pass in, summed losses out.

One module, so that DeepSpeed's hooks on it see the output matrix used: under ZeRO-3 a weight exists only while a
module that owns it, or has registered it, runs. Knows no optimiser and no data order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from distill.losses.sparse import LossSettings, chunked_loss
from distill.training import attention, inner_states
from distill.training.batch import Batch
from distill.training.inner_states import TeacherBeside


class Learner(nn.Module):
    """Wraps a transformers causal model, or a PEFT model around one."""

    def __init__(
        self,
        student: Any,
        settings: LossSettings,
        *,
        real_vocabulary: int,
        compute: torch.dtype,
        beside: TeacherBeside | None = None,
    ) -> None:
        """`beside`: in training mode the student also learns this teacher's inner states."""
        super().__init__()
        self.student = student
        self.settings = settings
        self.transfer = None if beside is None else beside.transfer
        self._beside = beside
        self._real_vocabulary = real_vocabulary
        self._compute = compute
        attention.use(self.model, maps=beside is not None and beside.maps)

    @property
    def model(self) -> Any:
        """The causal model itself, adapters in its layers."""
        return inner_states.causal_model(self.student)

    @property
    def head(self) -> Tensor:
        """Output matrix [V, H]; the embedding's own where they are tied."""
        weight: Tensor = self.model.get_output_embeddings().weight
        return weight

    def hidden(self, batch: Batch) -> Tensor:
        """[1, T, H] final hidden states, normed, of the whole row."""
        states: Tensor = inner_states.run(self.model, batch).last_hidden_state
        return states

    def forward(self, batch: Batch, settings: LossSettings | None = None) -> tuple[Tensor, Tensor]:
        """(total, figures): the differentiable sum of losses over the batch's targets, and detached float64
        [4]: divergence, cross-entropy and agreement, each summed, and the number of targets. Of transfer only the
        total knows."""
        beside = self._beside if self.training else None
        device_type = self.head.device.type
        with torch.autocast(
            device_type, self._compute, enabled=self._compute != torch.float32, cache_enabled=False
        ):
            if beside is None:
                hidden = self.hidden(batch)
            else:
                hidden, inner = beside.student_states(self.model, batch)
            # Only the rows that are learned go through the output matrix, a quarter of a small model's work.
            hidden = hidden[0].index_select(0, batch.rows).to(self._compute)
        sums = chunked_loss(
            hidden,
            self.head,
            batch.labels,
            batch.teacher,
            settings or self.settings,
            real_vocabulary=self._real_vocabulary,
        )
        figures = torch.stack(
            [
                torch.as_tensor(figure, dtype=torch.float64, device=hidden.device)
                for figure in (sums.divergence, sums.cross_entropy, sums.agreement, len(batch.labels))
            ]
        )
        total = sums.total
        if beside is not None:
            total = total + beside.transfer(inner, beside.teacher_states(batch))
        return total * batch.weight, figures * batch.weight
