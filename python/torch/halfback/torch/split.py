"""A module whose backward runs in two halves."""

from typing import Any, Literal, TypeAlias

import torch
from torch.utils import _pytree as pytree

from halfback.errors import ConfigError

from . import _split

Halves: TypeAlias = Literal["split", "together"]

_HALVES = {"split": _split.Halves.Split, "together": _split.Halves.Together}


def halves_of(name: str) -> _split.Halves:
    if name not in _HALVES:
        raise ConfigError(f"halves: '{name}' is not known; expected split or together")
    return _HALVES[name]


class Graph:
    """The graph of one call of a module, until its two halves have run: first I, then W."""

    def __init__(self, graph: _split.Graph):
        self._graph = graph

    def backward_input(self, *grad_outputs: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """I: the gradients of the inputs.

        Args:
            grad_outputs: a gradient for each tensor among the outputs, in their order; ``None`` for one that
                has none.

        Returns:
            The gradients of the tensors among the inputs that require one, in their order. What only I
            needs is released.
        """
        return tuple(self._graph.backward_input(list(grad_outputs)))

    def backward_weight(self) -> None:
        """W: adds the gradients of the parameters to their ``grad``, as ``backward()`` does."""
        self._graph.backward_weight()


class Split:
    """A module that is called once for each micro-batch, and whose backward runs in two halves.

        split = Split(module)
        y, graph = split.forward(x)          # F; x.requires_grad is set
        (grad_x,) = graph.backward_input(grad_y)      # I
        graph.backward_weight()              # W: now parameters have their grad

    Any order of micro-batches works. ``grad`` has the bits of PyTorch's own backward if W runs in the same
    order as that.

    Args:
        module: any module. Its parameters that require a gradient are those that W adds to.
        halves: ``"split"``, or ``"together"``: I runs the whole backward, and gradients of parameters wait
            for W. For modules that only run whole: functions in Python with gradients for inputs and for
            parameters, ``torch.compile``, hooks.

    Raises:
        halfback.ConfigError: for a graph that cannot be split, naming what is in the way.
    """

    def __init__(self, module: torch.nn.Module, *, halves: Halves = "split"):
        self.module = module
        self._halves = halves_of(halves)
        self._key: tuple[Any, ...] = ()
        self._leaves: _split.Leaves | None = None

    def _current_leaves(self) -> _split.Leaves:
        """The parameters that are trained now; made again after a conversion."""
        trained = [(name, one) for name, one in self.module.named_parameters() if one.requires_grad]
        key = tuple((id(one), one.dtype, one.device) for _, one in trained)
        if self._leaves is None or key != self._key:
            names = [name for name, _ in trained]
            self._leaves = _split.Leaves(type(self.module).__name__, names, [one for _, one in trained])
            self._key = key
        return self._leaves

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, Graph]:
        """F: runs the module.

        Returns:
            Its outputs without their graph, and the graph.
        """
        graph = _split.Graph(self._current_leaves())
        args, kwargs = begin(graph, args, kwargs)
        with torch.enable_grad():
            outputs = self.module(*args, **kwargs)
        flat, structure = pytree.tree_flatten(outputs)
        tensors = [one for one in flat if isinstance(one, torch.Tensor)]
        graph.end(tensors, self._halves)
        flat = [one.detach() if isinstance(one, torch.Tensor) else one for one in flat]
        return pytree.tree_unflatten(flat, structure), Graph(graph)

    __call__ = forward


def begin(graph: _split.Graph, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Returns the arguments with the tensors that require a gradient replaced by those that the graph begins at."""
    flat, structure = pytree.tree_flatten((args, kwargs))
    places = [i for i, one in enumerate(flat) if isinstance(one, torch.Tensor) and one.requires_grad]
    for place, entering in zip(places, graph.begin([flat[place] for place in places]), strict=True):
        flat[place] = entering
    return pytree.tree_unflatten(flat, structure)
