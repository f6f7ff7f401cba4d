"""Most memory that training took."""

from __future__ import annotations

import resource

import torch


def peak(device: torch.device) -> int:
    """Bytes: resident at most so far in this process, or allocated at most on the GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
