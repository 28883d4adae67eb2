"""What the benchmark scripts share: the description of the machine, medians with quartiles, Markdown tables."""

import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def fail(text, code=1):
    print(f"error: {text}", file=sys.stderr)
    sys.exit(code)


def _first(path, key):
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "unknown")


def _system():
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def machine():
    """The machine, the commit and the day, as every record carries them."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "cpu": _first("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": _system(),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": commit.stdout.strip() or "unknown",
        "date": datetime.date.today().isoformat(),
    }


def describe(record):
    """One line: machine, versions, commit, day, and rounds where there are some."""
    where = record["machine"]
    facts = [where["cpu"], f"{where['cores']} cores", where["memory"], where["system"]]
    facts += [f"{name} {record[key]}" for name, key in (("torch", "torch"), ("GCC", "compiler")) if record.get(key)]
    facts += [f"commit {where['commit']}", where["date"], f"load before {where['load_before']}"]
    if "rounds" in record:
        facts.append(f"{record['rounds']} rounds after {record['warmup_rounds']}")
    return ", ".join(facts)


def require_program(path):
    if not os.access(path, os.X_OK):
        fail(f"{os.path.relpath(path)} is missing; 'bench/run build' makes it")


def shown(command):
    """A command as one would type it in the root folder."""
    return " ".join([os.path.relpath(command[0], ROOT), *command[1:]])


def run(command, folder=None):
    """Standard output of a command that must succeed, run in a folder (this one)."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=folder)
    if done.returncode != 0:
        fail(f"{command[0]} ended with {done.returncode}; its own message is above")
    return done.stdout


def warn_if_busy():
    if os.getloadavg()[0] > 0.5:
        print(f"warning: the load is {os.getloadavg()[0]:.1f} before measuring; figures will scatter", file=sys.stderr)


def quartiles(values):
    """[first quartile, median, third quartile]"""
    if len(values) < 2:
        return [values[0]] * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def spread(triple, digits=3):
    low, median, high = triple
    return f"{median:.{digits}f} ({low:.{digits}f} - {high:.{digits}f})"


def table(columns, rows):
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def progress(done, total, text=""):
    """A line that overwrites itself, on a terminal only."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{text} {done} of {total}", end=end, file=sys.stderr, flush=True)


def write(folder, name, record, markdown):
    """NAME.json and NAME.md; each whole or not at all."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, text in ((".json", json.dumps(record, indent=1) + "\n"), (".md", markdown)):
        partial = folder / f"{name}{suffix}.partial"
        partial.write_text(text)
        partial.replace(folder / f"{name}{suffix}")
    print(markdown)
