"""What a Pipeline refuses before a rank runs."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from halfback.errors import ConfigError

from .part import names_of


def require_tensors(named: Sequence[tuple[str, Any]]) -> None:
    for name, one in named:
        if not isinstance(one, torch.Tensor):
            raise ConfigError(f"step: {name} is of type {type(one).__name__}; give a tensor")


def require_no_graph(tensors: Sequence[torch.Tensor]) -> None:
    """What computes an input outside of the stages would not be trained, and would not show it."""
    for one in tensors:
        if one.requires_grad:
            raise ConfigError(
                f"step: a tensor of shape {list(one.shape)} among inputs, target and keywords requires a gradient, and a "
                "step returns none for it; move what computes it into a stage, or give its detach()"
            )


def require_parameters(parts: Sequence[nn.Module]) -> None:
    owners: dict[int, str] = {}
    for stage, part in enumerate(parts):
        names = names_of(part, stage)
        for name, one in part.named_parameters():
            owner = owners.setdefault(id(one), names[name])
            if owner != names[name]:
                raise ConfigError(
                    f"stage {stage}: {names[name]} is the parameter {owner} of another stage; cut() the list of all modules, "
                    "which gives later stages copies of what they share"
                )
            if one.requires_grad and one.dtype not in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
                raise ConfigError(
                    f"stage {stage}: {names[name]} has type {one.dtype}, and a pipeline trains float32, float64, bfloat16 and "
                    "float16; convert the model, or freeze the parameter"
                )


def fingerprint(tensors: Sequence[torch.Tensor]) -> int:
    """Depends on types, shapes and values."""
    text = [f"{one.dtype} {list(one.shape)} {torch.hash_tensor(one).view(torch.int64).item() if one.numel() else 0}" for one in tensors]
    return int.from_bytes(hashlib.blake2b(" ".join(text).encode(), digest_size=8).digest(), "little") >> 1
