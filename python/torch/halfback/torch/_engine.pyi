"""The engine, in C++: halfback/engine/pipeline.h says what its functions do."""

from collections.abc import Callable, Sequence

import torch

class Part:
    def __init__(
        self,
        name: str,
        forward: Callable[[list[torch.Tensor], int, bool], list[torch.Tensor]],
        parameters: Sequence[tuple[str, torch.Tensor, str]],
        statistics: Sequence[tuple[str, torch.Tensor, float]],
    ) -> None: ...

class Result:
    loss: float
    gradient_norm: float
    seconds: float
    activations: list[int]
    spans: list[tuple[int, str, float, float]]

def count_bytes() -> None: ...

Given = tuple[list[torch.Tensor], torch.Tensor, list[list[torch.Tensor]], int]

class Engine:
    def __init__(
        self,
        schedule: str,
        parts: Sequence[Part],
        loss: Callable[[torch.Tensor, torch.Tensor, bool], torch.Tensor],
        timeout: float,
        threads: int,
        seed: int,
        group: torch.distributed.ProcessGroup | None,
    ) -> None: ...
    local_stages: list[int]
    schedule: str
    def measure_bytes(self, micro_batch: Given) -> list[dict[str, int]]: ...
    def step(self, micro_batches: Sequence[Given]) -> Result: ...
    def evaluate(self, micro_batches: Sequence[Given]) -> float: ...
    def close(self) -> None: ...
