"""How the engine calls a stage of a model: with tensors and a key, from the thread of its rank."""

import contextlib
import dataclasses
import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils import _pytree as pytree

from halfback.errors import ConfigError

from . import _engine
from .part import Part

# Who draws has torch's generator for itself: ranks of one process share it.
_drawing = threading.Lock()


@dataclasses.dataclass
class Surroundings:
    """What all stages of a step have in common."""

    structure: pytree.TreeSpec | None = None  # of the keyword inputs
    others: list[Any] = dataclasses.field(default_factory=list)  # their entries; TENSOR in place of a tensor
    autocast: torch.dtype | None = None

    def keywords(self, tensors: list[torch.Tensor]) -> dict[str, Any]:
        """The keyword inputs with the tensors of a micro-batch."""
        if self.structure is None:
            return {}
        rest = iter(tensors)
        flat = [next(rest) if one is TENSOR else one for one in self.others]
        keywords: dict[str, Any] = pytree.tree_unflatten(flat, self.structure)
        return keywords

    @property
    def count(self) -> int:
        return sum(one is TENSOR for one in self.others)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The autocast of whoever called the step; a rank's thread has none of its own."""
        if self.autocast is None:
            yield
        else:
            with torch.autocast("cpu", dtype=self.autocast):
                yield


#: Stands for a tensor among keyword inputs.
TENSOR = object()


def seed_of(key: int, unit: str) -> int:
    digest = hashlib.blake2b(f"{key}/{unit}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class StageCall:
    """A stage as a function of tensors. Random numbers depend on the step, the micro-batch and the unit alone."""

    def __init__(self, module: nn.Module, number: int, surroundings: Surroundings, is_last: bool = False):
        self.module, self.number, self.surroundings, self.is_last = module, number, surroundings, is_last
        self.draws: bool | None = None  # unknown before the first call in training
        self._settings: list[tuple[float, ...]] = []

    @property
    def name(self) -> str:
        return f"stage {self.number}"

    def __call__(self, inputs: list[torch.Tensor], key: int, is_training: bool) -> list[torch.Tensor]:
        with self.surroundings.entered():
            if not is_training or self.draws is False:
                return self._run(inputs)
            with _drawing:
                return self._draw(inputs, key)

    def notice_settings(self) -> None:
        """Before a step: with other modes or rates of its modules, a stage may begin to draw."""
        settings = [
            (one.training, *(value for value in one.__dict__.values() if isinstance(value, float)))
            for one in self.module.modules()
        ]
        if settings != self._settings:
            self.draws, self._settings = None, settings

    def _draw(self, inputs: list[torch.Tensor], key: int) -> list[torch.Tensor]:
        """Runs the stage with the generator seeded for each of its units; finds out whether it draws at all."""
        generator = torch.default_generator
        before = seeded = generator.get_state()
        found = False

        def seed(unit: str) -> None:
            nonlocal found, seeded
            found = found or self.draws is None and not torch.equal(generator.get_state(), seeded)
            generator.manual_seed(seed_of(key, unit))
            seeded = generator.get_state() if self.draws is None else seeded

        seed(self.name)
        try:
            if isinstance(self.module, Part):
                self.module.on_unit = seed
            outputs = self._run(inputs)
            if self.draws is None:
                self.draws = found or not torch.equal(generator.get_state(), seeded)
            return outputs
        finally:
            if isinstance(self.module, Part):
                self.module.on_unit = None
            generator.set_state(before)

    def _run(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        count = self.surroundings.count
        travelling, own = inputs[: len(inputs) - count], inputs[len(inputs) - count :]
        outputs = self.module(*travelling, **self.surroundings.keywords(own))
        if isinstance(outputs, torch.Tensor):
            return [outputs]
        if isinstance(outputs, (tuple, list)) and outputs and all(isinstance(one, torch.Tensor) for one in outputs):
            if self.is_last and len(outputs) > 1:
                raise ConfigError(
                    f"{self.name} returns {len(outputs)} tensors, and a loss takes one; return one, which the last stage may make "
                    "of several, as by torch.cat"
                )
            return list(outputs)
        raise ConfigError(f"{self.name} returns {type(outputs).__name__}; return a tensor, or a tuple of tensors")

    def part(self, originals: dict[str, str]) -> _engine.Part:
        """The stage for the engine; ``originals`` has the full name of each parameter by its name in the model."""
        copies: dict[str, str] = getattr(self.module, "copies", {})
        parameters = [
            (name, one, originals[copies[name]] if name in copies else "")
            for name, one in self.module.named_parameters()
            if one.requires_grad
        ]
        return _engine.Part(self.name, self, parameters, self.statistics())

    def norms(self) -> list[tuple[str, _NormBase]]:
        """The modules whose running statistics a step changes."""
        return [
            (name, one)
            for name, one in self.module.named_modules()
            if isinstance(one, _NormBase) and one.training and one.running_mean is not None
        ]

    def statistics(self) -> list[tuple[str, torch.Tensor, float]]:
        found: list[tuple[str, torch.Tensor, float]] = []
        for prefix, norm in self.norms():
            if norm.momentum is None:
                raise ConfigError(
                    f"{self.name}: {prefix} averages over its calls, and F may run more than once; give it a momentum"
                )
            for name, kept in (("running_mean", 1 - norm.momentum), ("running_var", 1 - norm.momentum), ("num_batches_tracked", 1.0)):
                if (tensor := getattr(norm, name)) is not None:
                    found.append((f"{prefix}.{name}", tensor, kept))
        return found
