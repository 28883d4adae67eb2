"""A model in training over the stages of a schedule. Experimental: names may change."""

import contextlib
import dataclasses
import datetime
import operator
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

import halfback as hb
from halfback.types import Memory

from . import _engine
from .checks import fingerprint, require_no_graph, require_parameters, require_tensors
from .part import names_of
from .stage_call import TENSOR, StageCall, Surroundings

__all__ = ["Pipeline", "Step"]


@dataclasses.dataclass(frozen=True)
class Step:
    """What a step has found; the same on every rank.

    Attributes:
        loss: the summed loss of all micro-batches over the number of targets.
        gradient_norm: of all gradients of the model, before clipping.
        seconds: from the first action to the last.
        schedule: the plan as it ran, with its messages.
    """

    loss: float
    gradient_norm: float
    seconds: float
    schedule: hb.Schedule = dataclasses.field(repr=False)
    _result: _engine.Result = dataclasses.field(repr=False, compare=False)

    @property
    def spans(self) -> list[tuple[int, str, float, float]]:
        """Rank, action, start and end in seconds of every action that ran, rank by rank."""
        return self._result.spans

    @property
    def activations(self) -> list[int]:
        """By rank, the most bytes that it kept or had in transit between two actions; zeros without ``count_bytes``.

        It is less by what Python's collector frees of earlier steps and pipelines meanwhile: see ``gc.collect()``.
        """
        return self._result.activations

    def html(self, memory: Memory | None = None) -> str:
        """The page of this step, below the same step simulated with its costs.

        Args:
            memory: what ``measure_memory`` has returned, for the bytes that ranks hold.
        """
        return self.schedule.step_html(self.spans, memory)

    def costs(self) -> dict[str, Any]:
        """The median costs of each stage's actions, for ``simulate()`` of any plan with as many stages."""
        return self.schedule.step_costs(self.spans)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation has found.

    Attributes:
        loss: as that of a step; the same on every rank.
        outputs: what the last stage returned, in the process that has it; ``None`` elsewhere.
    """

    loss: float
    outputs: torch.Tensor | None


def give_originals(
    copies: Sequence[tuple[nn.Parameter, nn.Parameter]], local: Sequence[nn.Module], group: torch.distributed.ProcessGroup
) -> None:
    """Processes that have not the same seed have other values of the same parameter; those of its stage count."""
    own = {id(one) for part in local for one in part.parameters()}
    for copy, original in copies:
        value = original.detach().clone() if id(original) in own else torch.zeros_like(original)
        torch.distributed.all_reduce(value, group=group)
        copy.detach().copy_(value)


def number_of_targets(target: torch.Tensor) -> int:
    """Integers of at least 0, as ``cross_entropy`` ignores those below; of other types all elements."""
    if target.is_floating_point() or target.is_complex():
        return target.numel()
    return int((target >= 0).sum())


class Pipeline:
    """A model in training: a step runs forward and backward of all micro-batches as a schedule says.

        parts = cut(model, plan.num_stages)
        with Pipeline(parts, plan, loss) as pipeline:
            optimizer = torch.optim.AdamW(pipeline.parameters(), 3e-3)
            for x, y in batches:
                step = pipeline.step(x, target=y)
                pipeline.clip_grad_norm_(1.0)
                optimizer.step()

    Gradients are those of ``loss(model(x), y).sum() / count`` with the micro-batches in order, to the bit. Each step
    starts from zero: there is nothing to clear. All ranks are threads of this process, or, under ``torchrun``, each
    process has as many ranks as there are ranks for a process. All processes have the whole model, make the same
    calls with the same inputs, and keep memory for their own stages only.

    The caller's process keeps its settings: operators use as many threads as before, except on threads of ranks.
    One rank in a process runs on the caller's thread.

    Args:
        parts: a module for each stage: ``cut(model, plan.num_stages)``, or modules of your own, each of which takes
            what the one before returns.
        plan: the schedule, which is verified.
        loss: ``loss(output, target)`` of a micro-batch, summed over its targets.
        count: how many targets a tensor of targets has, which the loss of a step is divided by. By default the
            integers of at least 0, or all numbers.
        seed: of dropout. Random numbers depend on it, the step, the micro-batch and the unit of the model, and not on
            the schedule or the number of ranks.
        threads: of operators, for ranks with threads of their own; 0 for an equal share of the cores.
        timeout: seconds that a rank may wait for another.
        count_bytes: counts the bytes of each rank, for ``Step.activations``. The allocator that does it becomes that of
            all CPU tensors of the process, for good; PyTorch's own memory profiler then sees none of them.

    Raises:
        halfback.ConfigError: for parts that do not fit the plan or cannot be trained so.
        halfback.ScheduleError: for a plan that does not run.
    """

    def __init__(
        self,
        parts: Sequence[nn.Module],
        plan: hb.Schedule,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        *,
        count: Callable[[torch.Tensor], int] = number_of_targets,
        seed: int = 0,
        threads: int = 0,
        timeout: float = 60.0,
        count_bytes: bool = False,
    ):
        if len(parts) != plan.num_stages:
            raise hb.ConfigError(f"parts: there are {len(parts)}, and the plan has {plan.num_stages} stages; give one for each")
        if count_bytes:
            _engine.count_bytes()
        self._plan, self._loss, self._count = plan, loss, count
        self._surroundings = Surroundings()
        self._outputs: list[torch.Tensor] | None = None
        self._calls = [StageCall(part, i, self._surroundings, i + 1 == len(parts)) for i, part in enumerate(parts)]
        require_parameters(parts)
        self._norms = [call.norms() for call in self._calls]
        self._copies = copies_of(parts)
        self._timeout, self._has_compared = timeout, False
        originals = full_names(self._calls)
        made = [call.part(originals) for call in self._calls]
        self._group = process_group(plan.num_ranks)
        self._engine = _engine.Engine(plan.to_csv(), made, self._call_loss, timeout, threads, seed, self._group)
        del made  # whoever is dropped below must have no other owner
        self._close = weakref.finalize(self, self._engine.close)
        self._running = threading.Lock()
        self._trained = [{name for name, one in part.named_parameters() if one.requires_grad} for part in parts]
        self._schedule = hb.parse(self._engine.schedule)
        self._norm: float | None = None
        if self._group is not None:
            local = [part for stage, part in enumerate(parts) if stage in self._engine.local_stages]
            give_originals(self._copies, local, self._group)
            self._copies = []  # the originals are in other processes from now on
        self._constant = [constant_bytes(part) for part in parts]
        self._parts = {stage: parts[stage] for stage in self._engine.local_stages}
        if self._group is not None:
            drop_memory([part for stage, part in enumerate(parts) if stage not in self._parts])

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        if raised is None or self._group is None:
            self.close()
        else:  # the other processes do not come here: they hear that this one is gone
            self._close.detach()
            self.__dict__.pop("_engine", None)

    def close(self) -> None:
        """Ends the pipeline, once all processes have called it. The end of the interpreter does too."""
        self._close()

    @property
    def parts(self) -> dict[int, nn.Module]:
        """The stages of this process, by number."""
        return self._parts

    def step(self, *inputs: torch.Tensor, target: torch.Tensor, **keywords: Any) -> Step:
        """Runs forward and backward; afterwards every parameter of this process has its ``grad``, until the next step.

        Args:
            inputs: of the first stage, whole batches: each is split along its first dimension into micro-batches.
            target: likewise, for the loss.
            keywords: inputs that every stage takes by keyword. Tensors of as many entries as the batch are split; all
                else is given to each micro-batch as it is.
        """
        self._require_unchanged()
        tensors = [one for one in [*inputs, target, *pytree.tree_leaves(keywords)] if isinstance(one, torch.Tensor)]
        require_no_graph(tensors)
        with self._alone():
            given = self._split(inputs, target, keywords)
            self._require_same(tensors)
            result = self._engine.step(given)
        self._norm = result.gradient_norm
        return Step(result.loss, result.gradient_norm, result.seconds, self._schedule, result)

    def measure_memory(self, *inputs: torch.Tensor, target: torch.Tensor, **keywords: Any) -> dict[str, Any]:
        """Counts what each stage keeps of a micro-batch, by running the first one of this batch.

            memory = pipeline.measure_memory(x, target=y)
            plan.simulate(memory=memory).memory           # of each rank, to the byte, before a step has run
            hb.build("zb-h1", ...).simulate(memory=memory)    # of any plan with as many stages

        Parameters and statistics stay as they are, and gradients become ``None``.

        Args: as those of a step.

        Returns:
            The bytes of each stage, in the form of a memory file, on every rank. Without those of an optimizer.
        """
        self._require_unchanged()
        self._norm = None
        with self._alone():
            kept = self._engine.measure_bytes(self._split(inputs, target, keywords)[0])
        return {"stages": [one | constant for one, constant in zip(kept, self._constant, strict=True)]}

    def evaluate(self, *inputs: torch.Tensor, target: torch.Tensor, **keywords: Any) -> Evaluation:
        """Runs forward only, with all modules in ``eval()`` mode."""
        with self._alone(), evaluating(self._parts.values()):
            given = self._split(inputs, target, keywords)
            self._outputs = []
            loss = self._engine.evaluate(given)
            outputs, self._outputs = self._outputs, None
        return Evaluation(loss, torch.cat(outputs) if outputs else None)

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of this process's stages; those that the engine trains, and frozen ones."""
        return (one for _, one in self.named_parameters())

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """With their names in the model. A parameter that stages share is there once for each of them."""
        for stage, part in self._parts.items():
            names = names_of(part, stage)
            for name, one in part.named_parameters():
                yield names[name], one

    def clip_grad_norm_(self, max_norm: float) -> float:
        """Scales the gradients as ``torch.nn.utils.clip_grad_norm_`` does, by the norm over the whole model."""
        norm = self._norm
        if norm is None:
            raise hb.ConfigError("clip_grad_norm_: there are no gradients yet; call it after a step")
        factor = min(float(max_norm) / (norm + 1e-6), 1.0)
        gradients = [one.grad for one in self.parameters() if one.grad is not None]
        if factor < 1.0:
            self._norm = norm * factor
            if gradients:
                torch._foreach_mul_(gradients, factor)
        return norm

    def state_dict(self, *, whole: bool = False) -> dict[str, torch.Tensor]:
        """Copies of the parameters and buffers of this process's stages, by their names in the model.

        Args:
            whole: of all processes' stages, in each of them; all make the call.
        """
        self._update_copies()
        state: dict[str, torch.Tensor] = {}
        for stage, part in self._parts.items():
            names = names_of(part, stage)
            for name, tensor in part.state_dict(keep_vars=True).items():
                state.setdefault(names.get(name, name), tensor.detach().clone())
        if whole and self._group is not None:
            states: list[dict[str, torch.Tensor]] = [{}] * self._group.size()
            torch.distributed.all_gather_object(states, state, group=self._group)
            state = {name: tensor for one in states for name, tensor in one.items()}
        return state

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Copies the values of this process's stages out of a state of the whole model, or of more."""
        for stage, part in self._parts.items():
            names = names_of(part, stage)
            missing = [names[name] for name in part.state_dict() if names[name] not in state]
            if missing:
                raise hb.ConfigError(f"state: {missing[0]} is missing; give the state of the whole model")
            part.load_state_dict({name: state[names[name]] for name in part.state_dict()})

    def _call_loss(self, output: torch.Tensor, target: torch.Tensor, is_training: bool) -> torch.Tensor:
        if not is_training and self._outputs is not None:
            self._outputs.append(output.detach().clone())
        with self._surroundings.entered():
            loss = self._loss(output, target)
        if not isinstance(loss, torch.Tensor):
            raise hb.ConfigError(f"the loss returns {type(loss).__name__}; return the sum over the targets, a tensor of one number")
        return loss

    def _split(self, inputs: Sequence[torch.Tensor], target: torch.Tensor, keywords: dict[str, Any]) -> "list[_engine.Given]":
        """What each micro-batch takes."""
        number = self._plan.num_micro_batches
        self._update_copies()
        require_tensors([*((f"input {i}", one) for i, one in enumerate(inputs)), ("target", target)])
        size = inputs[0].size(0) if inputs and inputs[0].dim() else 0
        if size < number or target.dim() == 0 or target.size(0) != size:
            raise hb.ConfigError(
                f"step: {size} samples and {target.size(0) if target.dim() else 0} targets for {number} micro-batches; "
                "expected a target for each sample, and a sample for each micro-batch at least"
            )
        for i, one in enumerate(inputs):
            if one.dim() == 0 or one.size(0) != size:
                raise hb.ConfigError(
                    f"step: input {i} has shape {list(one.shape)}, and input 0 {size} samples; give each input a row for each "
                    "sample, and by keyword what has none"
                )
        flat, structure = pytree.tree_flatten(keywords)
        surroundings = self._surroundings
        surroundings.structure = structure if keywords else None
        surroundings.others = [TENSOR if isinstance(one, torch.Tensor) else one for one in flat]
        surroundings.autocast = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        positional = [one.tensor_split(number) for one in inputs]
        further = [
            one.tensor_split(number) if one.dim() and one.size(0) == size else (one,) * number
            for one in flat
            if isinstance(one, torch.Tensor)
        ]
        targets = target.tensor_split(number)
        return [
            (
                [one[i] for one in positional],
                targets[i],
                [[one[i] for one in further]] * self._plan.num_stages,
                operator.index(self._count(targets[i])),
            )
            for i in range(number)
        ]

    def _require_same(self, tensors: Sequence[torch.Tensor]) -> None:
        """In the first step: processes with other batches would train on the inputs of one and the targets of another."""
        if self._group is None or self._has_compared:
            return
        self._has_compared = True
        mine = torch.tensor([fingerprint(tensors)])
        found = [torch.empty_like(mine) for _ in range(self._group.size())]
        try:
            work = torch.distributed.all_gather(found, mine, group=self._group, async_op=True)
            work.wait(datetime.timedelta(seconds=self._timeout))
        except RuntimeError:  # the step will say which process is gone, and where
            return
        if len({int(one) for one in found}) > 1:
            raise hb.ConfigError(
                "step: inputs, target or keywords are not the same in all processes; each takes the whole batch, so load it with "
                "one seed, and without a DistributedSampler"
            )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if not hasattr(self, "_engine"):
            raise hb.Error("the pipeline is closed; make a new one")
        if not self._running.acquire(blocking=False):
            raise hb.Error("another thread runs this pipeline; make one for each thread, or wait for the other")
        try:
            yield
        finally:
            self._running.release()

    def _update_copies(self) -> None:
        """An optimizer of the model, or whoever loads a state into it, knows the originals only."""
        with torch.no_grad():
            for copy, original in self._copies:
                copy.copy_(original)

    def _require_unchanged(self) -> None:
        for stage, part in self._parts.items():
            self._calls[stage].notice_settings()
            for name, one in part.named_parameters():
                if one.requires_grad and name not in self._trained[stage]:
                    raise hb.ConfigError(
                        f"stage {stage}: {name} requires a gradient, and did not when the pipeline was made; close it, and make a "
                        "new one of the same parts"
                    )
            if [name for name, _ in self._calls[stage].norms()] != [name for name, _ in self._norms[stage]]:
                raise hb.ConfigError(
                    f"stage {stage}: other normalizations are in training mode than when the pipeline was made; set modes before"
                )


def copies_of(parts: Sequence[nn.Module]) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """The parameters of stages that are copies, each with its original."""
    originals: dict[str, nn.Parameter] = {}
    found = []
    for stage, part in enumerate(parts):
        copies, names = getattr(part, "copies", {}), names_of(part, stage)
        for name, one in part.named_parameters():
            if name in copies:
                found.append((one, originals[copies[name]]))
            else:
                originals[names[name]] = one
    return found


def constant_bytes(part: nn.Module) -> dict[str, int]:
    """What a stage always holds, in the words of a memory file."""
    parameters = list(part.parameters())
    return {
        "parameters": sum(one.nbytes for one in [*parameters, *part.buffers()]),
        "parameter_gradients": sum(one.nbytes for one in parameters if one.requires_grad),
    }


def full_names(calls: Sequence[StageCall]) -> dict[str, str]:
    """By the names of parameters in the model, what the engine calls them."""
    found: dict[str, str] = {}
    for call in calls:
        copies = getattr(call.module, "copies", {})
        names = names_of(call.module, call.number)
        for name, _ in call.module.named_parameters():
            if name not in copies:
                found[names[name]] = f"{call.name}.{name}"
    return found


def process_group(num_ranks: int) -> torch.distributed.ProcessGroup | None:
    """A process group for the messages of one pipeline, if there are several processes."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    known = torch.distributed.get_world_size() if torch.distributed.is_initialized() else count
    if known != count:
        raise hb.ConfigError(
            f"torch.distributed has {known} processes, and WORLD_SIZE is {os.environ.get('WORLD_SIZE', 'not set')}; start them "
            "with torchrun, or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT as it does"
        )
    if count < 2:
        return None
    if num_ranks % count:
        raise hb.ConfigError(
            f"{count} processes and {num_ranks} ranks in the plan; each process has as many ranks as the others, so start "
            f"{num_ranks} processes, or a number that divides it"
        )
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    group: torch.distributed.ProcessGroup = torch.distributed.new_group(backend="gloo")
    return group


def drop_memory(parts: Sequence[nn.Module]) -> None:
    """Puts the parameters and buffers of stages of other processes on the meta device, where they have no memory."""
    for part in parts:
        for name, one in part.named_parameters():
            empty = nn.Parameter(torch.empty_like(one, device="meta"), one.requires_grad)
            try:
                torch.utils.swap_tensors(one, empty)  # type: ignore[no-untyped-call]
            except RuntimeError as error:
                raise hb.ConfigError(
                    f"{name} of a stage of another process is still in use, as by an output of the model that has a graph; drop "
                    "it, or make the pipeline before"
                ) from error


@contextlib.contextmanager
def evaluating(parts: Any) -> Iterator[None]:
    """Puts all modules into evaluation mode, and back into the modes that they had."""
    modes = [(module, module.training) for part in parts for module in part.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode
