"""`Engine` over DeepSpeed ZeRO: gradients and AdamW's state (2), and the weights (3), split over the ranks.

In bfloat16 DeepSpeed holds the weights in bfloat16 and, split over the ranks, float32 masters with AdamW's
moments; gradients are summed in float32. The result is that of one process within rounding.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.utils import logger as deepspeed_logger
from torch import Tensor

from distill.recipe import Training
from distill.training.engine import BETAS, optimiser
from distill.training.learner import Learner
from distill.training.ranks import Place
from serve.errors import Unprocessable

_TAG = "engine"


class DeepSpeedEngine:
    """One rank."""

    def __init__(self, learner: Learner, settings: Training, place: Place, *, half: bool) -> None:
        """`half`: weights and computation are bfloat16."""
        self.rank, self.ranks, self.device = place.rank, place.ranks, place.device
        self.learner = learner
        self._stage = settings.zero_stage
        deepspeed_logger.setLevel(logging.WARNING)
        self._engine, *_ = deepspeed.initialize(
            model=learner,
            optimizer=_optimiser(learner, settings),
            config=configuration(settings, half=half),
            dist_init_required=False,
        )
        if self._stage == 3:
            # The output matrix is used by `Learner.forward`, outside of the module that owns it.
            deepspeed.zero.register_external_parameter(learner, learner.head)

    def forward(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self._engine(*arguments)
        return found

    def backward(self, loss: Tensor, *, last: bool) -> None:
        self._engine.set_gradient_accumulation_boundary(last)
        # DeepSpeed takes the ranks' mean; wanted is the sum, divided by the step's targets already.
        self._engine.backward(loss * self.ranks)

    def step(self, learning_rate: float) -> float:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        return float(self._engine.get_global_grad_norm())

    def total(self, values: Tensor) -> Tensor:
        summed = values.clone()
        torch.distributed.all_reduce(summed)
        return summed

    def save(self, folder: Path) -> None:
        self._engine.save_checkpoint(str(folder), tag=_TAG, save_latest=False, exclude_frozen_parameters=True)

    def load(self, folder: Path) -> None:
        found, _ = self._engine.load_checkpoint(str(folder), tag=_TAG, load_module_strict=False)
        if found is None:
            raise Unprocessable(
                f"{folder} is damaged: delete it, and training goes on from the checkpoint before"
            )

    def weights(self, dtype: torch.dtype) -> dict[str, Tensor] | None:
        found: dict[str, Tensor] = {}
        for name, weight in self.learner.student.named_parameters():
            if not weight.requires_grad:
                continue
            with deepspeed.zero.GatheredParameters([weight], enabled=self._stage == 3):
                if self.rank == 0:
                    found[name] = weight.detach().to("cpu", dtype, copy=True)
        return found if self.rank == 0 else None

    def barrier(self) -> None:
        torch.distributed.barrier()


def _optimiser(learner: Learner, settings: Training) -> Any:
    """AdamW where its state lies: DeepSpeed's own, vectorised for the CPU, when that is the host."""
    plain = optimiser(learner, settings)
    if settings.offload == "none":
        return plain
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    return DeepSpeedCPUAdam(plain.param_groups, lr=settings.learning_rate, betas=BETAS, adamw_mode=True)


def configuration(settings: Training, *, half: bool) -> dict[str, Any]:
    """DeepSpeed's configuration. Steps are of any number of passes: the plan tells it which is the last."""
    zero: dict[str, Any] = {"stage": settings.zero_stage, "contiguous_gradients": True}
    if settings.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if settings.offload == "parameters":
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings.clip_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": half},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
    }
