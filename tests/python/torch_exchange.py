"""Schedules both ways between Halfback and torch.distributed.pipelining.

Ours run in PyTorch's schedule runtime (Gloo, one process a rank) with the gradients of the eager
model, bit for bit; PyTorch's own verify, simulate and run here; and what `verify --for torch` says
of a file is what the real runtime does with it.

usage: torch_exchange.py ours WRITE_SCHEDULES
       torch_exchange.py theirs HALFBACK SCHEDULE_PARITY
       torch_exchange.py claims HALFBACK
"""

import copy
import csv
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch.distributed.pipelining import PipelineStage, schedules
from torch.testing._internal.distributed.fake_pg import FakeStore

WIDTH = 6
ROWS = 2  # of a micro-batch
FORMATS = {"torch": "compute_only", "torch-comm": "compute_comms"}  # our names and PyTorch's


# ---- PyTorch's side: one process a rank ----------------------------------------------------------


def make_layer(stage):
    torch.manual_seed(100 + stage)
    return torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh())


def ranks_of_stages(path):
    ranks = {}
    for rank, row in enumerate(pathlib.Path(path).read_text().splitlines()):
        for stage in re.findall(r"(\d+)[FBIW]\d", row):
            ranks.setdefault(int(stage), rank)
    return ranks


def eager_gradients(layers, inputs, targets, num_micro_batches):
    layers = copy.deepcopy(layers)
    loss = torch.nn.MSELoss(reduction="sum")
    for batch in range(num_micro_batches):
        rows = slice(ROWS * batch, ROWS * (batch + 1))
        output = inputs[rows]
        for layer in layers:
            output = layer(output)
        loss(output, targets[rows]).backward()
    return [[parameter.grad / num_micro_batches for parameter in layer.parameters()] for layer in layers]


def run_schedule(rank, path, file_format, num_micro_batches):
    """Returns "equal", "other gradients", or how many times too large they are."""
    ranks = ranks_of_stages(path)
    num_stages = max(ranks) + 1
    layers = [make_layer(stage) for stage in range(num_stages)]
    torch.manual_seed(7)
    inputs = torch.randn(ROWS * num_micro_batches, WIDTH)
    targets = torch.randn(ROWS * num_micro_batches, WIDTH)
    expected = eager_gradients(layers, inputs, targets, num_micro_batches)

    mine = [stage for stage in sorted(ranks) if ranks[stage] == rank]
    stages = [PipelineStage(layers[s], s, num_stages, torch.device("cpu")) for s in mine]
    runtime = schedules._PipelineScheduleRuntime(
        stages, num_micro_batches, loss_fn=torch.nn.MSELoss(reduction="sum")
    )
    runtime._load_csv(path, format=file_format)
    arguments = (inputs,) if 0 in mine else ()
    runtime.step(*arguments, **({"target": targets, "losses": []} if num_stages - 1 in mine else {}))

    outcome = "equal"
    for stage in mine:
        for parameter, gradient in zip(layers[stage].parameters(), expected[stage]):
            if parameter.grad is not None and torch.equal(parameter.grad, gradient):
                continue
            scaled = parameter.grad is not None and torch.equal(parameter.grad, num_micro_batches * gradient)
            outcome = "times micro-batches" if scaled else "other gradients"
    return outcome


def work(rank, num_ranks, store, jobs, outcomes):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=num_ranks, init_method=f"file://{store}")
    for name, path, file_format, num_micro_batches in jobs:
        try:
            outcome = run_schedule(rank, path, file_format, num_micro_batches)
        except Exception as error:  # noqa: BLE001: what it says is the result
            outcome = f"refused: {type(error).__name__}: {error}"
        outcomes.put((name, outcome))
        dist.barrier()
    dist.destroy_process_group()


def run_in_torch(num_ranks, jobs, folder):
    """Returns by name what the ranks found, joined where they differ. A hang ends as an error."""
    # Processes begin as copies of one that has torch: to import it is most of their time.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch.distributed.pipelining", "torch.testing"])
    outcomes = context.Queue()
    store = folder / f"store_{num_ranks}_{len(jobs)}"
    processes = [
        context.Process(target=work, args=(rank, num_ranks, store, jobs, outcomes), daemon=True)
        for rank in range(num_ranks)
    ]
    for process in processes:
        process.start()
    found = {}
    try:
        for _ in range(num_ranks * len(jobs)):
            name, outcome = outcomes.get(timeout=900)
            found.setdefault(name, set()).add(outcome)
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()
    return {name: " / ".join(sorted(several)) for name, several in found.items()}


# ---- Files ---------------------------------------------------------------------------------------


def check(condition, text):
    if not condition:
        raise SystemExit(f"torch_exchange: {text}")


def call(command, expected=0):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    check(done.returncode == expected, f"{command} ended with {done.returncode}:\n{done.stderr}{done.stdout}")
    return done


def write_ours(write_schedules, num_ranks, two_stage, formats, folder):
    """Writes every family that has this kind of backward; returns the jobs."""
    lines = call([write_schedules, folder, num_ranks, two_stage, *formats]).stdout.splitlines()
    jobs = []
    for path, name, num_micro_batches in map(str.split, lines):
        jobs.append((pathlib.Path(path).name, path, FORMATS[name], int(num_micro_batches)))
    return jobs


def write_theirs(num_ranks, num_micro_batches, folder):
    """Writes PyTorch's own schedules in both dialects; returns their paths."""
    dist.init_process_group("fake", rank=0, world_size=num_ranks, store=FakeStore())
    paths = []

    def stages(indices, num_stages):
        example = torch.zeros(1, WIDTH)
        return [
            PipelineStage(make_layer(s), s, num_stages, torch.device("cpu"), input_args=example, output_args=example)
            for s in indices
        ]

    def path_of(kind, suffix=""):
        paths.append(folder / f"{kind.__name__}_{num_ranks}_{num_micro_batches}{suffix}.csv")
        return paths[-1]

    loss = torch.nn.MSELoss()
    for kind in (schedules.ScheduleGPipe, schedules.Schedule1F1B):
        schedule = kind(stages([0], num_ranks)[0], num_micro_batches, loss_fn=loss)
        with open(path_of(kind), "w", newline="") as file:
            csv.writer(file).writerows(schedule._get_pipeline_order().values())
    loop, wave = [0, num_ranks], [0, 2 * num_ranks - 1]
    for kind, indices in (
        (schedules.ScheduleInterleaved1F1B, loop),
        (schedules.ScheduleLoopedBFS, loop),
        (schedules.ScheduleInterleavedZeroBubble, loop),
        (schedules.ScheduleZBVZeroBubble, wave),
        (schedules.ScheduleDualPipeV, wave),
    ):
        schedule = kind(stages(indices, 2 * num_ranks), num_micro_batches, loss_fn=loss)
        schedule._dump_csv(path_of(kind), format="compute_only")
        schedule._prepare_schedule_with_comms(schedule.pipeline_order)
        schedule._dump_csv(path_of(kind, "_comms"), format="compute_comms")
    dist.destroy_process_group()
    return paths


def deferred_receives(folder):
    """ZB-V on 2 ranks as PyTorch lowers it with defer_pp_recv, which swaps receives."""
    dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    example = torch.zeros(1, WIDTH)
    two = [PipelineStage(make_layer(s), s, 4, torch.device("cpu"), input_args=example, output_args=example) for s in (0, 3)]
    schedule = schedules.ScheduleZBVZeroBubble(two, 8, loss_fn=torch.nn.MSELoss())
    schedule._prepare_schedule_with_comms(schedule.pipeline_order)
    lowered = schedules._defer_recv_ops(
        schedule.pipeline_order_with_comms, stage_to_rank=lambda s: schedule.stage_index_to_group_rank[s]
    )
    dist.destroy_process_group()
    path = folder / "deferred.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(lowered.values())
    return path


# ---- The tests -----------------------------------------------------------------------------------


def test_ours_run_there(write_schedules, folder):
    on_two = [job for kind in ("on", "off") for job in write_ours(write_schedules, 2, kind, ["torch"], folder)]
    on_four = write_ours(write_schedules, 4, "on", ["torch", "torch-comm"], folder)
    check(len(on_two) >= 30 and len(on_four) >= 40, f"only {len(on_two)} and {len(on_four)} files of ours")
    for num_ranks, jobs in ((2, on_two), (4, on_four)):
        for name, outcome in run_in_torch(num_ranks, jobs, folder).items():
            check(outcome == "equal", f"{name}: PyTorch says {outcome}")


def test_theirs_run_here(halfback, parity, folder):
    runnable = []
    for num_ranks, num_micro_batches in ((2, 8), (4, 8)):
        for path in write_theirs(num_ranks, num_micro_batches, folder):
            if path.name.startswith("Schedule1F1B"):
                # Its published order has the last rank's forwards one too high (its step() does not
                # use it): refused here, and run once put right.
                error = call([halfback, "verify", path], expected=1).stderr
                check(f"0F{num_micro_batches} is missing" in error, error)
                rows = path.read_text().splitlines()
                rows[-1] = re.sub(r"F(\d+)", lambda m: f"F{int(m[1]) - 1}", rows[-1])
                path.write_text("\n".join(rows) + "\n")
            call([halfback, "verify", path])
            call([halfback, "simulate", path])
            runnable.append(path)
    found = call([parity, *runnable]).stdout.splitlines()
    # LoopedBFS runs its backwards in descending order, so that sums have another order here.
    expected = [
        f"{path}: equal to rounding" if "LoopedBFS" in path.name else f"{path}: equal" for path in runnable
    ]
    check(found == expected, "\n".join(found))


ONE = (
    "0F0,0F1,0F2,0F3,0B0,0B1,0B2,0B3\n"
    "1F0,1F1,1F2,1F3,1B0,1B1,1B2,1B3\n"
)
WITH_MESSAGES = (
    "0F0,0SEND_F0,0F1,0SEND_F1,0F2,0SEND_F2,0F3,0SEND_F3,"
    "0RECV_B0,0B0,0RECV_B1,0B1,0RECV_B2,0B2,0RECV_B3,0B3,0REDUCE_GRAD\n"
    "1RECV_F0,1F0,1RECV_F1,1F1,1RECV_F2,1F2,1RECV_F3,1F3,"
    "1B0,1SEND_B0,1B1,1SEND_B1,1B2,1SEND_B2,1B3,1SEND_B3,1REDUCE_GRAD\n"
)
DESCENDING = (
    "0F1,0F0,0F2,0F3,0I0,0W0,0I1,0W1,0I2,0W2,0I3,0W3\n"
    "1F1,1F0,1F2,1F3,1I0,1W0,1I1,1W1,1I2,1W2,1I3,1W3\n"
)

# Name, text, how PyTorch loads it, what it does, what we say of it.
CLAIMS = [
    ("plain", ONE, "compute_only", "equal", "runs it"),
    ("messages", WITH_MESSAGES, "compute_comms", "equal", "runs it"),
    ("empty cell", ONE.replace("0F1", ",0F1"), "compute_only", "equal", "runs it"),
    ("comment", "# plan\n" + ONE, "compute_only", "refused", "refused: line 1: a comment"),
    ("blank line", ONE + "\n", "compute_only", "refused", "refused: line 3: a blank line"),
    ("blank line, messages", WITH_MESSAGES + "\n", "compute_comms", "refused", "refused: line 3: a blank line"),
    ("empty cell, messages", WITH_MESSAGES.replace("0F1", ",0F1"), "compute_comms", "refused", "refused: line 1: an empty cell"),
    ("reduce without messages", ONE.replace("B3", "B3,0REDUCE_GRAD", 1), "compute_only", "refused", "refused: '0REDUCE_GRAD' in a file without messages"),
    ("unshard without messages", "0UNSHARD," + ONE, "compute_only", "refused", "refused: '0UNSHARD' in a file without messages"),
    ("no reduce", re.sub(r",\dREDUCE_GRAD", "", WITH_MESSAGES), "compute_comms", "times micro-batches", "wrong: stage 0 has no 0REDUCE_GRAD cell"),
    ("reduce early", WITH_MESSAGES.replace("0B3,0REDUCE_GRAD", "0REDUCE_GRAD,0B3"), "compute_comms", "equal / other gradients", "wrong: line 1: '0REDUCE_GRAD' comes after 3 of 4"),
    ("reduce twice", WITH_MESSAGES.replace("0REDUCE_GRAD", "0REDUCE_GRAD,0REDUCE_GRAD"), "compute_comms", "equal / other gradients", "wrong: line 1: '0REDUCE_GRAD' a second time"),
    ("reduce elsewhere", WITH_MESSAGES.replace("0REDUCE_GRAD", "0REDUCE_GRAD,1REDUCE_GRAD"), "compute_comms", "refused", "refused: line 1: '1REDUCE_GRAD' speaks of a stage that is not on rank 0"),
    ("reduce with zeros", WITH_MESSAGES.replace("0REDUCE_GRAD", "00REDUCE_GRAD"), "compute_comms", "equal", "runs it"),
    ("descending", DESCENDING, "compute_only", "other gradients", "wrong: 1F0 comes after 1F1"),
    # What PyTorch takes without a word and we refuse as no valid schedule.
    ("garbage", ONE.replace("0F0", "0F0x"), "compute_only", "equal", "'0F0x' is not an action"),
    ("doubled", ONE.replace("0F0", "0F0,0F0"), "compute_only", "equal", "0F0"),
    ("swapped", WITH_MESSAGES.replace("1RECV_F0,1F0,1RECV_F1", "1RECV_F1,1RECV_F0,1F0"), "compute_comms", "other gradients", "1RECV_F1"),
]


def test_claims(halfback, folder):
    jobs = []
    for name, text, file_format, _, said in CLAIMS:
        path = folder / f"claim_{name.replace(' ', '_').replace(',', '')}.csv"
        path.write_text(text)
        done = subprocess.run([halfback, "verify", path, "--for", "torch"], capture_output=True, text=True)
        check(said in done.stdout + done.stderr, f"{name}: we say\n{done.stdout}{done.stderr}")
        check((done.returncode == 0) == (said == "runs it"), f"{name}: verify ends with {done.returncode}")
        jobs.append((name, path, file_format, 4))
    found = run_in_torch(2, jobs, folder)
    for name, _, _, does, _ in CLAIMS:
        check(found[name].startswith(does), f"{name}: PyTorch does not say '{does}' but '{found[name]}'")


def test_deferred_receives(halfback, folder):
    path = deferred_receives(folder)
    error = call([halfback, "verify", path], expected=1).stderr
    check("RECV" in error, error)
    # Eight micro-batches of which some take each other's tensors.
    outcome = run_in_torch(2, [("deferred", path, "compute_comms", 8)], folder)["deferred"]
    check("other gradients" in outcome, f"deferred receives: PyTorch says {outcome}")


def test_stage_zero(halfback, folder):
    """The step under PyTorch's rule for stage 0, as known for 4 ranks."""
    for family, step, there in (("gpipe", 18, 21), ("1f1b-1", 15, 15), ("1f1b-2", 27, 31), ("zb-h1", 27, 27)):
        path = folder / f"stage_zero_{family}.csv"
        path.write_text(call([halfback, "schedule", family, "--ranks", 4, "--format", "torch"]).stdout)
        said = json.loads(call([halfback, "verify", path, "--for", "torch", "--json"]).stdout)["torch"]
        check((said["step"], said["step_there"]) == (step, there), f"{family}: {said}")


PARTS = {
    "ours": [test_ours_run_there],
    "theirs": [test_theirs_run_here],
    "claims": [test_stage_zero, test_claims, test_deferred_receives],
}


def main(arguments):
    programs = [pathlib.Path(a).resolve() for a in arguments[1:]]
    with tempfile.TemporaryDirectory() as name:
        for test in PARTS[arguments[0]]:
            test(*programs, pathlib.Path(name))
    print("schedules are exchanged with PyTorch")


if __name__ == "__main__":
    main(sys.argv[1:])
