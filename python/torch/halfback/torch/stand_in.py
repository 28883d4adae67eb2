"""What stands in a part of a model for the modules of other parts, and what runs before and after its blocks."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.utils import _pytree as pytree

from halfback.errors import ConfigError

OnUnit: TypeAlias = Callable[[str], None]


class Run:
    """What one call of a part knows. Each part has its own, so parts may run in different threads."""

    def __init__(self, stage: int, start: int = 0, stop: int = 0, total: int = 0):
        self.stage, self.start, self.stop, self.total = stage, start, stop, total
        self.on_unit: OnUnit | None = None
        self.hidden: torch.Tensor | None = None
        self.filler: torch.Tensor | None = None  # what modules of other stages return: not a number, everywhere
        self.returned = 0  # how many values the model unpacks from what a block returns; 0: a tensor does
        self.position = start
        self.checking = True  # until one call has ended well
        self.made: list[torch.Tensor] = []
        self.absent: list[tuple[nn.Module, str, torch.Size, torch.dtype]] = []

    def tell(self, unit: str) -> None:
        if self.on_unit is not None:
            self.on_unit(unit)

    def begin(self, hidden: torch.Tensor | None) -> None:
        self.position, self.hidden, self.made = self.start, hidden, []
        if hidden is None:
            return
        self.filler = torch.full_like(hidden.detach(), float("nan") if hidden.is_floating_point() else 0)
        for module, name, shape, dtype in self.absent:  # code before the blocks may read them
            value = float("nan") if dtype.is_floating_point else 0
            module.__dict__[name] = torch.full((), value, dtype=dtype, device=hidden.device).expand(shape)

    def enter_blocks(self) -> None:
        """From here on the values count: what other stages have is gone."""
        self.filler = None
        for module, name, _, _ in self.absent:
            module.__dict__.pop(name, None)

    def end(self) -> None:
        self.enter_blocks()
        self.hidden, self.made = None, []

    def expect(self, index: int, name: str) -> None:
        if index != self.position:
            raise ConfigError(
                f"stage {self.stage}: the model runs block '{name}' (number {index}) where number {self.position} comes "
                "next; cut() needs a forward that runs each block once, in their order"
            )

    def refuse_nan(self, values: Any, where: str) -> None:
        """On the first call: nothing but the hidden state may depend on what other stages compute."""
        for one in pytree.tree_leaves(values) if self.checking and self.stage > 0 else ():
            if isinstance(one, torch.Tensor) and one.is_floating_point() and bool(one.isnan().any()):
                raise ConfigError(
                    f"stage {self.stage}: {where} reads a tensor that an earlier stage computes, besides the hidden state; "
                    "only the hidden state travels; compute that tensor in the block, or keep the model whole"
                )


class End(BaseException):
    """Ends a forward at the first block of the next stage. Not an ``Exception``: the model must not catch it."""

    def __init__(self, hidden: torch.Tensor):
        super().__init__()
        self.hidden = hidden


def first_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int | str, Any]:
    """Where the hidden state is among the arguments of a block, and what is there."""
    if args:
        return 0, args[0]
    for name in ("hidden_states", *kwargs):
        if name in kwargs:
            return name, kwargs[name]
    return 0, None


def without(place: int | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    return args[1:] if place == 0 else args, {name: one for name, one in kwargs.items() if name != place}


class Absent(AttributeError):
    """Code of the model reads an attribute of a module that another stage has."""


class StandIn(nn.Module):
    """Stands in a stage for a module of another stage. It has no parameters.

    Before the stage's blocks it returns a tensor of the hidden state's shape, whose values are never used. As
    the first block of the next stage it ends the forward.
    """

    def __init__(self, run: Run, name: str, module: nn.Module, index: int = -1):
        super().__init__()
        internal = self.__dict__.keys() | module._parameters.keys()
        for key, value in module.__dict__.items():
            if key not in internal and isinstance(value, bool | int | float | str | None | torch.dtype):
                self.__dict__[key] = value  # such as the kind of attention that the model picks a mask by
        self.run, self.name, self.index = run, name, index
        if index < 0:  # the code before the blocks may read shapes and types, as of an embedding's weight
            for key, parameter in module._parameters.items():
                if parameter is not None:
                    run.absent.append((self, key, parameter.shape, parameter.dtype))
            for key, child in module._modules.items():
                self._modules[key] = None if child is None else StandIn(run, f"{name}.{key}", child)

    def __getattr__(self, key: str) -> Any:
        try:
            return super().__getattr__(key)
        except AttributeError:
            name = self.__dict__.get("name", "")
            raise Absent(
                f"the model reads '{name}.{key}' in a stage that has not '{name}'; where the first and the last stage "
                f"need a module, give cut(..., both=[...]) its name"
            ) from None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        run = self.run
        if self.index == run.stop and self.index >= 0:
            run.expect(self.index, self.name)
            place, hidden = first_argument(args, kwargs)
            if not isinstance(hidden, torch.Tensor):
                raise ConfigError(
                    f"stage {run.stage}: the model calls block '{self.name}' with {type(hidden).__name__} as first "
                    "argument; cut() needs the hidden state there, a tensor"
                )
            others = pytree.tree_leaves(without(place, args, kwargs))
            if any(one is made for one in others for made in run.made):
                raise ConfigError(
                    f"stage {run.stage}: block '{self.name}' reads a second tensor that an earlier block returns; only "
                    "the hidden state travels from stage to stage; keep the model whole"
                )
            raise End(hidden)
        if run.filler is None:
            raise ConfigError(
                f"stage {run.stage}: the model calls '{self.name}', which another stage has (modules before the list of "
                "blocks are the first stage's, those after it the last one's, in the order of their registration); if the "
                f"first or the last stage needs it too, give cut(..., both=['{self.name}'])"
            )
        return (run.filler,) * run.returned if run.returned and self.index >= 0 else run.filler


class Enter:
    """Runs before a block: gives the first one of the stage the tensor that arrives."""

    def __init__(self, run: Run, index: int, name: str):
        self.run, self.index, self.name = run, index, name

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        run = self.run
        run.expect(self.index, self.name)
        run.position += 1
        place, _ = first_argument(args, kwargs)
        run.refuse_nan(without(place, args, kwargs), f"block '{self.name}'")
        if self.index == run.start and run.hidden is not None:
            if isinstance(place, str):
                kwargs = {**kwargs, place: run.hidden}
            else:
                args = (run.hidden, *args[1:])
            run.enter_blocks()
        run.tell(self.name)
        return args, kwargs


class Leave:
    """Runs after a block: the head begins after the last one."""

    def __init__(self, run: Run, index: int):
        self.run, self.index = run, index

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        run = self.run
        if run.checking:
            given = pytree.tree_leaves((args, kwargs))
            run.made += [one for one in pytree.tree_leaves(output)
                         if isinstance(one, torch.Tensor) and not any(one is other for other in given)]
        if self.index == run.total - 1:
            run.tell("end")


class Late:
    """The forward of a module that the last stage has besides the first: it counts only after the blocks."""

    def __init__(self, run: Run, module: nn.Module):
        self.run, self.module = run, module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.run.filler is not None:
            return self.run.filler
        return type(self.module).forward(self.module, *args, **kwargs)
