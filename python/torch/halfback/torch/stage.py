"""A stage for torch.distributed.pipelining with the split backward of Halfback."""

from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.pipelining import PipelineStage
from torch.nn.parallel import DistributedDataParallel

from halfback.errors import ConfigError

from . import _split
from .split import Halves, Split, begin, halves_of


class SplitStage(PipelineStage):
    """``PipelineStage`` whose halves of a backward cost what a whole backward costs, and keep less between I and W.

    It runs in every schedule of PyTorch. B runs the whole backward; I and W run its halves. Gradients have
    the bits of a whole backward.

    Args:
        halves: as for ``Split``; all others as for ``PipelineStage``.

    Raises:
        halfback.ConfigError: for a module wrapped for data parallelism, and in a step for what ``Split``
            refuses.
    """

    def __init__(
        self,
        submodule: torch.nn.Module,
        stage_index: int,
        num_stages: int,
        device: torch.device,
        *args: Any,
        halves: Halves = "split",
        **kwargs: Any,
    ):
        if isinstance(submodule, (DistributedDataParallel, FSDPModule)):
            raise ConfigError(
                f"stage {stage_index}: {type(submodule).__name__} sums gradients by hooks, which the halves of a "
                "backward do not call; sum them after the step, or use PipelineStage"
            )
        if kwargs.get("dw_builder") is not None:
            raise ConfigError(f"stage {stage_index}: dw_builder splits a backward by hand; leave it out, or use PipelineStage")
        super().__init__(submodule, stage_index, num_stages, device, *args, **kwargs)
        self._halves = halves_of(halves)
        self._split = Split(submodule)
        self._chunk: int | None = None  # whose forward runs
        self._graphs: dict[int, _split.Graph] = {}  # by micro-batch, until I or B
        self._waiting: dict[int, _split.Graph] = {}  # until W

    def forward_one_chunk(self, fwd_chunk_id: int, *args: Any, **kwargs: Any) -> Any:
        self._chunk = fwd_chunk_id
        try:
            return super().forward_one_chunk(fwd_chunk_id, *args, **kwargs)
        finally:
            self._chunk = None

    def forward_maybe_with_nosync(self, *args: Any, **kwargs: Any) -> Any:
        if self._chunk is None or not self.has_backward or not torch.is_grad_enabled():
            return self.submod(*args, **kwargs)
        graph = _split.Graph(self._split._current_leaves())
        args, _ = begin(graph, args, {})
        output = self.submod(*args, **kwargs)
        self._graphs[self._chunk] = graph
        return output

    def backward_one_chunk(
        self, bwd_chunk_id: int, loss: torch.Tensor | None = None, full_backward: bool = True, last_backward: bool = False
    ) -> None:
        if not self.has_backward:
            return
        self._check_chunk_id(bwd_chunk_id)
        outputs, inputs = self.fwd_cache.pop(bwd_chunk_id)
        graph = self._graphs.pop(bwd_chunk_id)
        if self.is_last:
            assert loss is not None
            ends, gradients = [loss], [torch.ones_like(loss)]
        else:
            ends, gradients = list(outputs), list(self._retrieve_recv_grads(bwd_chunk_id))
        graph.end(ends, _split.Halves.Together if full_backward else self._halves)
        found = iter(graph.backward_input(gradients))
        if full_backward:
            graph.backward_weight()
        else:
            self._waiting[bwd_chunk_id] = graph
        count = len(self._stage_meta.inputs or ())
        requires = [isinstance(one, torch.Tensor) and one.requires_grad for one in inputs[:count]]
        self.bwd_cache[bwd_chunk_id] = tuple(next(found) if one else None for one in requires)
        if self.is_last and not self.is_first:
            for output in outputs:  # the caller gets them without their graph
                if not output._is_view():
                    output.detach_()

    def backward_weight_one_chunk(self, bwd_chunk_id: int, last_backward: bool = False) -> None:
        if self.has_backward:
            self._waiting.pop(bwd_chunk_id).backward_weight()

    def perform_reduce_grad(self, grad_scale_factor: int) -> None:
        if self.has_backward:  # in an evaluation PyTorch's would scale the gradients of the step before once more
            super().perform_reduce_grad(grad_scale_factor)

    def clear_runtime_states(self) -> None:
        super().clear_runtime_states()
        self._graphs.clear()
        self._waiting.clear()
