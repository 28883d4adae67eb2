"""Cuts a model into the stages of a pipeline."""

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from halfback.errors import ConfigError

from .copies import Replace, bound_to, copy_tree, give_copies, joined, shallow
from .part import ChainPart, LoopPart, Part
from .stand_in import Enter, Late, Leave, Run, StandIn

__all__ = ["Part", "cut"]


def cut(
    model: nn.Module | Sequence[nn.Module],
    stages: int | Sequence[str],
    *,
    blocks: str | None = None,
    both: Sequence[str] = (),
) -> list[Part]:
    """Cuts a model into stages. The model is not changed, and its parameters become those of the parts.

        parts = cut(model, 4)
        hidden = parts[0](ids, attention_mask=mask)
        hidden = parts[1](hidden, attention_mask=mask)      # and so on; the last part returns logits

    The model is one of:

    - an ``nn.Sequential``, or a list of modules that run one after another. Its units are the entries, and those of
      an ``nn.Sequential`` inside. Between modules of a list a tuple becomes several arguments.
    - a module whose forward runs the modules of a list, its blocks, one after another, such as a model of Hugging
      Face. Each part runs this forward, from the block where the stage begins to the block where it ends. Modules
      registered before the list belong to the first stage, modules after it to the last, parameters beside the list to
      the first; modules without parameters are in every stage. The first part takes the inputs of the model, and later
      ones take the hidden state. Each part takes the other inputs, such as ``attention_mask``, by keyword. The last
      part returns ``logits``, ``last_hidden_state`` or the first entry of a ``ModelOutput``, and what any other
      forward returns.

    Only the hidden state travels between blocks: what else a block reads has to come from inputs and from modules
    without parameters. The first call of each part checks that. Later stages see a tensor of the hidden state's shape
    in place of the model's first input; if the forward needs more of that input than its shape, give it to each part
    by keyword.

    ``model.to()``, ``model.train()`` and parameters that are replaced, as by ``load_state_dict(assign=True)``, do not reach
    the parts after the cut; call theirs. What a forward sets on a module, such as a buffer, is on the parts' copy of it: see
    ``Pipeline.state_dict()``. Hooks are copied with the modules. A part runs one call at a time; different parts may run in different threads.

    Args:
        model: the whole model.
        stages: the number of stages, which then have the same number of units, or one more in the first ones; or the
            names of the units at which a new stage begins: two names for three stages.
        blocks: the name of the list of blocks, such as ``"transformer.h"``. By default it is found by the model's
            ``_pp_plan``, else it is the list of modules of one class with the most parameters.
        both: names of modules or parameters beside the list of blocks that both the first and the last stage use.

    Returns:
        The part of each stage, in order.

    Raises:
        halfback.ConfigError: if there is no such list, or the stages do not fit it.
    """
    root = model if isinstance(model, nn.Module) else nn.Sequential(*model)
    if blocks is None and is_chain(root):
        if both:
            raise ConfigError("both: an nn.Sequential has no modules beside its units; leave it out")
        parts: list[Part] = cut_chain(root, stages, spread=root is not model)
    else:
        parts = cut_loop(root, stages, find_blocks(root) if blocks is None else named_blocks(root, blocks), both)
    give_copies(root, parts)
    return parts


def is_chain(module: nn.Module) -> bool:
    """An ``nn.Sequential`` that does nothing but to run its entries."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    plain = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    return plain and "forward" not in module.__dict__ and not any(hooks)


def chain_units(module: nn.Module, prefix: str = "") -> Iterator[str]:
    for key, child in module._modules.items():
        if child is not None and is_chain(child) and len(child._modules) > 0:
            yield from chain_units(child, f"{prefix}{key}.")
        else:
            yield prefix + key


def cut_chain(root: nn.Module, stages: int | Sequence[str], spread: bool) -> list[Part]:
    units = list(chain_units(root))
    bounds = begins(stages, units, f"the {type(root).__name__}") + [len(units)]
    parts: list[Part] = []
    for index, (start, stop) in enumerate(zip(bounds, bounds[1:], strict=False)):
        own = units[start:stop]
        parts.append(ChainPart(chain_copy(root, "", own, {}), len(bounds) - 1, own, Run(index), spread))
    return parts


def chain_copy(module: nn.Module, prefix: str, own: list[str], copied: dict[int, nn.Module]) -> nn.Module:
    """An ``nn.Sequential`` with those of its units that are in ``own``."""
    copy = shallow(module)
    copy._modules.clear()
    for key, child in module._modules.items():
        name = prefix + key
        if child is not None and name in own:
            copy._modules[key] = copy_tree(child, name, copied)
        elif child is not None and any(one.startswith(name + ".") for one in own):
            copy._modules[key] = chain_copy(child, name + ".", own, copied)
    return copy


def begins(stages: int | Sequence[str], units: list[str], where: str) -> list[int]:
    """The number of the first unit of each stage."""
    if isinstance(stages, int):
        if stages < 1:
            raise ConfigError(f"stages: {stages}; expected at least 1")
        if stages > len(units):
            raise ConfigError(f"stages: {stages} stages, and {where} has {len(units)} units; take at most {len(units)}")
        size, more = divmod(len(units), stages)
        return [index * size + min(index, more) for index in range(stages)]
    if isinstance(stages, str):
        raise ConfigError(f"stages: '{stages}' is one name; expected a number or a list of names, as ['{stages}']")
    found = [0]
    for name in stages:
        at = next((i for i, unit in enumerate(units) if unit == name or unit.startswith(f"{name}.")), None)
        if at is None:
            close = difflib.get_close_matches(str(name), units, 1)
            hint = f"did you mean '{close[0]}'?" if close else "take one of these"
            raise ConfigError(f"stages: '{name}' is no unit of {where}, which has {listed(units)}; {hint}")
        if at == 0:
            raise ConfigError(f"stages: the first stage begins at '{name}' by itself; leave it out")
        if at <= found[-1]:
            raise ConfigError(f"stages: '{name}' does not come after '{units[found[-1]]}'; give ascending names, each once")
        found.append(at)
    return found


def listed(names: Sequence[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names) if len(names) <= 4 else f"{names[0]}, {names[1]}, ..., {names[-1]}"


def find_blocks(root: nn.Module) -> str:
    """The name of the list of blocks: that of the plan, or the one of modules of one class with most parameters."""
    plan = getattr(root, "_pp_plan", None)
    modules = dict(root.named_modules())
    planned = [name for name in (plan if isinstance(plan, Mapping) else ()) if isinstance(modules.get(name), nn.ModuleList)]
    if len(planned) == 1:
        return str(planned[0])
    best, most = "", 0
    for name, module in modules.items():
        if name and isinstance(module, nn.ModuleList | nn.Sequential) and len({type(one) for one in module}) == 1:
            size = sum(one.numel() for one in module.parameters())
            if size > most:
                best, most = name, size
    if not best:
        raise ConfigError(
            f"{type(root).__name__} has no nn.ModuleList or nn.Sequential of blocks of one class; give cut(..., blocks=...) "
            "the name of the list whose modules its forward runs, or cut an nn.Sequential or a list of modules"
        )
    return best


def named_blocks(root: nn.Module, name: str) -> str:
    lists = {key: one for key, one in root.named_modules() if key and isinstance(one, nn.ModuleList | nn.Sequential)}
    if name not in lists or len(lists[name]) == 0:
        close = difflib.get_close_matches(name, lists, 1)
        hint = f"did you mean '{close[0]}'?" if close else "take one of these"
        raise ConfigError(
            f"blocks: '{name}' is no nn.ModuleList or nn.Sequential of {type(root).__name__} with entries, which has "
            f"{listed(list(lists))}; {hint}"
        )
    return name


def cut_loop(root: nn.Module, stages: int | Sequence[str], blocks: str, both: Sequence[str]) -> list[Part]:
    units = [f"{blocks}.{key}" for key in root.get_submodule(blocks)._modules]
    bounds = begins(stages, units, f"'{blocks}'") + [len(units)]
    owners = beside(root, blocks, len(bounds) - 2)
    levels = {"": root}
    for name in prefixes(blocks):
        levels[name] = root.get_submodule(name)
    check_beside(levels, owners, both)
    signature = inspect.signature(type(root).forward).parameters.values()
    inputs = [one.name for one in signature if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)][1:] or ["input"]
    parts: list[Part] = []
    for index, (start, stop) in enumerate(zip(bounds, bounds[1:], strict=False)):
        run = Run(index, start, stop, len(units))
        copy = copy_tree(root, "", {}, replacing(run, owners, units, both, last=index == len(bounds) - 2))
        for name in levels if index > 0 else ():
            leave_out(run, copy.get_submodule(name), name, both if index == len(bounds) - 2 else ())
        for number in range(start, stop):
            block = copy.get_submodule(units[number])
            block.register_forward_pre_hook(Enter(run, number, units[number]), with_kwargs=True, prepend=True)
            block.register_forward_hook(Leave(run, number), with_kwargs=True)
        parts.append(LoopPart(copy, len(bounds) - 1, units[start:stop], run, inputs))
    return parts


def check_beside(levels: dict[str, nn.Module], owners: dict[str, int], both: Sequence[str]) -> None:
    known = list(owners)
    for path, module in levels.items():
        known += [joined(path, key) for key, one in module._parameters.items() if one is not None]
        forward = module.__dict__.get("forward")
        if forward is not None and not bound_to(module, forward):
            raise ConfigError(
                f"the forward of '{path or type(module).__name__}' is replaced by {forward!r}, which runs the whole "
                "model; cut the model before that"
            )
    for name in both:
        if name not in known:
            raise ConfigError(
                f"both: '{name}' has no parameters, or is not beside the list of blocks; expected one of {', '.join(known)}"
            )


def prefixes(name: str) -> list[str]:
    """``a.b.c``: ``a``, ``a.b`` and ``a.b.c``."""
    keys = name.split(".")
    return [".".join(keys[: i + 1]) for i in range(len(keys))]


def beside(root: nn.Module, blocks: str, last: int) -> dict[str, int]:
    """For each module beside the path to the list of blocks that a stage has to own, the number of that stage."""
    owners: dict[str, int] = {}
    module, path, owner = root, "", 0
    for on_path in prefixes(blocks):
        owner = 0
        for key, child in module._modules.items():
            name = joined(path, key)
            if name == on_path:
                owner = last
            elif child is not None and has_state(child):
                owners[name] = owner
        module, path = root.get_submodule(on_path), on_path
    return owners


def has_state(module: nn.Module) -> bool:
    """Has parameters, or counts statistics: then it must not run in several stages."""
    norms = nn.modules.batchnorm._NormBase
    return any(True for _ in module.parameters()) or any(
        isinstance(one, norms) and one.track_running_stats for one in module.modules()
    )


def replacing(run: Run, owners: dict[str, int], units: list[str], both: Sequence[str], last: bool) -> Replace:
    """What to put in the place of a module in the copy of one stage; ``None`` for a copy of it."""
    numbers = {name: number for number, name in enumerate(units)}

    def replace(name: str, module: nn.Module) -> nn.Module | None:
        number = numbers.get(name)
        if number is not None:
            own = run.start <= number < run.stop  # a block that runs twice has two copies, with a hook each
            return copy_tree(module, name, {}) if own else StandIn(run, name, module, number)
        if owners.get(name, run.stage) == run.stage:
            return None
        if name not in both or not (last or run.stage == 0):
            return StandIn(run, name, module)
        if run.stage == 0:
            return None
        copy = copy_tree(module, name, {})
        copy.__dict__["forward"] = Late(run, copy)
        return copy

    return replace


def leave_out(run: Run, module: nn.Module, name: str, both: Sequence[str]) -> None:
    """Takes from a module around the blocks the parameters that the first stage has."""
    for key, parameter in list(module._parameters.items()):
        if parameter is not None and joined(name, key) not in both:
            del module._parameters[key]
            run.absent.append((module, key, parameter.shape, parameter.dtype))
