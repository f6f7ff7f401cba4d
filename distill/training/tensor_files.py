"""Named tensors in one safetensors file: no code in it, and a damaged one is told by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from serve.errors import Unprocessable


def save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write and fsync. Into a folder that is renamed when it is whole, so not aside. OSError on a full disk."""
    try:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, str(path))
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    sync(path)


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Unprocessable where the file is missing or damaged."""
    try:
        return load_file(str(path), device=str(device))
    except (OSError, SafetensorError) as error:
        raise Unprocessable(
            f"{path} is missing or damaged ({error}): delete the folder {path.parent.name} beside it, and "
            "training goes on from the checkpoint before"
        ) from error


def sync(path: Path) -> None:
    """fsync of a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """fsync of everything in a folder, and of the folder."""
    for path in sorted(folder.rglob("*"), reverse=True):
        sync(path)
    sync(folder)
