"""The parts of a model that ``cut`` makes: one for each stage of a pipeline."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from halfback.errors import ConfigError

from .stand_in import Absent, End, OnUnit, Run, StandIn


class Part(nn.Module):
    """One stage of a model: a module whose parameters are those of the model.

    The parts of a model together have each of its parameters once, as the same object, so an optimizer of the
    model trains them. Only where stages share a parameter, later stages have copies: see ``copies``.

    Attributes:
        index: the number of the stage, from 0.
        num_stages: the number of stages.
        units: the names in the model of the blocks, or entries of the ``nn.Sequential``, that this stage runs.
        model: the copy of the model's modules that this stage runs.
        model_names: for the name of each parameter and buffer in the part, its name in the model.
        copies: for the name of each parameter that is a copy, the model's name of the original. The gradient of a
            copy belongs to the gradient of the original, and its values have to follow those of the original.
    """

    def __init__(self, model: nn.Module, num_stages: int, units: list[str], run: Run):
        super().__init__()
        self.model, self.index, self.num_stages, self.units = model, run.stage, num_stages, units
        self.copies: dict[str, str] = {}
        self._run = run

    @property
    def model_names(self) -> dict[str, str]:
        names = [name for name, _ in self.named_parameters(remove_duplicate=False)]
        names += [name for name, _ in self.named_buffers(remove_duplicate=False)]
        return {name: name.removeprefix("model.") for name in names}

    @property
    def on_unit(self) -> OnUnit | None:
        """Is called with the name of each unit right before the unit runs; ``None`` for nothing.

        For a model with a list of blocks there are two units more: ``"begin"``, all before the first block, in the
        first stage, and ``"end"``, all after the last block, in the last stage. The names and their order over all
        parts are the same for every cut. Who seeds random numbers by them gets the same dropout for every cut.
        """
        return self._run.on_unit

    @on_unit.setter
    def on_unit(self, call: OnUnit | None) -> None:
        self._run.on_unit = call


class ChainPart(Part):
    """Runs entries of an ``nn.Sequential`` one after another. ``spread``: a tuple becomes several arguments."""

    def __init__(self, model: nn.Module, num_stages: int, units: list[str], run: Run, spread: bool):
        super().__init__(model, num_stages, units, run)
        self.spread = spread

    def forward(self, *tensors: Any) -> Any:
        value: Any = tensors if len(tensors) != 1 else tensors[0]
        for name in self.units:
            self._run.tell(name)
            unit = self.model.get_submodule(name)
            value = unit(*value) if isinstance(value, tuple) and self.spread else unit(value)
        return value


class LoopPart(Part):
    """Runs the model's own forward, from one block to another."""

    def __init__(self, model: nn.Module, num_stages: int, units: list[str], run: Run, inputs: list[str]):
        super().__init__(model, num_stages, units, run)
        self._inputs = inputs  # the parameters of forward

    def forward(self, *tensors: Any, **inputs: Any) -> Any:
        run = self._run
        if inputs.get("use_cache"):
            raise ConfigError("use_cache: a stage keeps no cache of keys and values; leave use_cache out")
        if "use_cache" in self._inputs:
            inputs["use_cache"] = False
        try:
            return self._run_model(tensors, inputs)
        except (ConfigError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            unpacked = re.search(r"values to unpack \(expected (\d+)", str(error))
            if run.filler is None or run.returned or not unpacked:
                run.returned = 0
                self._explain(error)
                raise
            run.returned = int(unpacked[1])  # blocks may return so many values: once more, from the beginning
        finally:
            run.end()
        return self.forward(*tensors, **inputs)

    def _run_model(self, tensors: tuple[Any, ...], inputs: dict[str, Any]) -> Any:
        run = self._run
        if self.index == 0:
            run.begin(None)
            run.tell("begin")
        else:
            tensors, inputs = self._arrive(tensors, inputs)
        try:
            output = picked(self.model(*tensors, **inputs))
        except End as end:
            run.checking = False
            return end.hidden
        if run.position < run.stop or self.index < self.num_stages - 1:
            missing = "all of its blocks" if run.position < run.stop else "the first block of the next stage"
            raise ConfigError(
                f"stage {self.index}: forward returns without a call of {missing}; give cut(..., blocks=...) the name of "
                "the list whose modules forward calls one after another"
            )
        if not any(bool(one.isnan().any()) for one in run.made if one.is_floating_point()):
            run.refuse_nan(output, "the code after the blocks")
        run.checking = False
        return output

    def _arrive(self, tensors: tuple[Any, ...], inputs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns the arguments of the model's forward; the main input is one of the hidden state's shape."""
        if len(tensors) != 1 or not isinstance(tensors[0], torch.Tensor):
            raise ConfigError(
                f"stage {self.index}: {len(tensors)} arguments; expected one tensor, the output of the stage before, and "
                "the model's other inputs by keyword"
            )
        run = self._run
        run.begin(tensors[0])
        if self._inputs[0] in inputs or "inputs_embeds" in inputs:
            return (), inputs
        if "inputs_embeds" in self._inputs:
            return (), {**inputs, "inputs_embeds": run.filler}
        return (run.filler,), inputs

    def _explain(self, error: Exception) -> None:
        """Raises a text that says what to do, where an error comes from the cut."""
        run, main = self._run, self._inputs[0]
        paths = [name for module, name, _, _ in run.absent if not isinstance(module, StandIn)]
        if run.filler is not None:
            raise ConfigError(
                f"stage {self.index}: the model's forward fails before this stage's first block "
                f"({type(error).__name__}: {error}); there it sees a tensor of the hidden state's shape as '{main}'; if it "
                f"needs the real one, give it to every stage by keyword: part(hidden, {main}={main})"
            ) from error
        if isinstance(error, Absent):
            raise ConfigError(f"stage {self.index}: {error}") from error
        for name in paths if isinstance(error, AttributeError) else ():
            if f"no attribute '{name}'" in str(error):
                raise ConfigError(
                    f"stage {self.index}: the model reads its parameter '{name}' after the blocks, and the first stage has "
                    f"it; give cut(..., both=[...]) its name"
                ) from error


def picked(output: Any) -> Any:
    """What the last stage returns of a model's output: logits, or the last hidden state, or the first entry."""
    if not isinstance(output, Mapping):
        return output
    for name in ("logits", "last_hidden_state"):
        if output.get(name) is not None:
            return output[name]
    return next(iter(output.values()))


def names_of(part: nn.Module, stage: int) -> dict[str, str]:
    """The names in the model of what a part has; modules of the user's own are the entries of an ``nn.Sequential``."""
    if isinstance(part, Part):
        return part.model_names
    return {name: f"{stage}.{name}" for name in part.state_dict(keep_vars=True)}
