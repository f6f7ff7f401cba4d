"""Which rank this process is, of how many, on which device: from the environment that DeepSpeed's launcher or
torchrun sets (RANK, LOCAL_RANK, WORLD_SIZE). Starts nothing; `launcher` does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch._C._distributed_c10d import HashStore

from distill.recipe import Training
from serve.errors import Unavailable, Unprocessable


@dataclass(frozen=True, slots=True)
class Place:
    """Where this process stands."""

    rank: int
    ranks: int
    device: torch.device


def launched() -> bool:
    """Whether a launcher has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join(settings: Training) -> Place:
    """Take this process's place; with a ZeRO stage also meet the other ranks.

    Unprocessable where several processes were started for a training of one; Unavailable without DeepSpeed.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not settings.zero_stage:
        if launched():
            raise Unprocessable(
                f"{os.environ['WORLD_SIZE']} processes were started, but zero_stage 0 trains in one: set zero_stage to "
                "2 or 3",
                param="zero_stage",
            )
        return Place(0, 1, device)
    try:
        import deepspeed
    except ImportError as error:
        raise Unavailable(
            f"zero_stage {settings.zero_stage} needs DeepSpeed, which is not installed: pip install "
            "'distilsql[cluster]', or set zero_stage to 0"
        ) from error
    if device.type == "cpu":
        # Its own shared-memory sum would be compiled first, a minute and a half of C++, and is not needed.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    backend = "nccl" if device.type == "cuda" else "gloo"
    # DeepSpeed asks for it also where one process was started by hand.
    os.environ.setdefault("LOCAL_RANK", str(local))
    if not torch.distributed.is_initialized():
        if launched():
            torch.distributed.init_process_group(backend)
        else:
            torch.distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    deepspeed.init_distributed(backend, auto_mpi_discovery=False)
    return Place(torch.distributed.get_rank(), torch.distributed.get_world_size(), device)
