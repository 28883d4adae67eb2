"""Copies of modules that have the parameters of the originals."""

import types
from collections.abc import Callable

from torch import nn

from .part import Part

Replace = Callable[[str, nn.Module], nn.Module | None]


def joined(prefix: str, key: str) -> str:
    return f"{prefix}.{key}" if prefix else key


def bound_to(module: nn.Module, value: object) -> bool:
    return isinstance(value, types.MethodType) and value.__self__ is module


def shallow(module: nn.Module) -> nn.Module:
    """A module of the same class with the same parameters and children, and its own lists of them."""
    copy = type(module).__new__(type(module))
    own = nn.Module().__dict__
    for key, value in module.__dict__.items():
        if (key in own and isinstance(value, dict | set)) or (key == "_flat_weights" and isinstance(module, nn.RNNBase)):
            value = value.copy()
        elif bound_to(module, value):
            value = types.MethodType(value.__func__, copy)
        copy.__dict__[key] = value
    return copy


def copy_tree(module: nn.Module, name: str, copied: dict[int, nn.Module], replace: Replace | None = None) -> nn.Module:
    """Copies of all modules; parameters and buffers are the same objects. A module in two places is so in the copy."""
    replaced = replace(name, module) if replace is not None else None
    if replaced is not None:
        return replaced
    if id(module) not in copied:
        copy = copied[id(module)] = shallow(module)
        for key, child in module._modules.items():
            if child is not None:
                copy._modules[key] = copy_tree(child, joined(name, key), copied, replace)
    return copied[id(module)]


def give_copies(root: nn.Module, parts: list[Part]) -> None:
    """A parameter that several stages have stays the first one's; the others get copies."""
    names = {id(parameter): name for name, parameter in root.named_parameters()}
    owners: dict[int, int] = {}
    for part in parts:
        copies: dict[int, nn.Parameter] = {}
        for module in part.modules():
            for key, parameter in list(module._parameters.items()):
                if parameter is None or owners.setdefault(id(parameter), part.index) == part.index:
                    continue
                if id(parameter) not in copies:
                    copies[id(parameter)] = nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
                setattr(module, key, copies[id(parameter)])
        originals = {id(copy): names[original] for original, copy in copies.items()}
        part.copies = {name: originals[id(one)] for name, one in part.named_parameters() if id(one) in originals}
