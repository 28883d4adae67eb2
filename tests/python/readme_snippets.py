#!/usr/bin/env python3
"""Runs the commands and Python snippets of README.md, in order and as they stand there, in a folder of their own, and
checks what README says that they print.

    readme_snippets.py README HALFBACK
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

NOT_RUN = {  # and why
    "./hb demo": "sets up and builds, then trains for minutes; its parts are the commands below",
    "./hb study demo": "trains for minutes; its parts are in the next study",
    "./hb test": "is what runs this",
    "pip install .": "builds for minutes; ./hb test builds and tests the same package by pip",
    "./hb python": "the same",
    "./hb compare --ranks 2 --rounds 6": "measures for a minute; bench/run writes its table",
}
PLACEHOLDER = re.compile(r"\b(VERB|NAME|FILE|DIR|P|D|K)\b")


def blocks(text):
    """Returns the fenced blocks in order."""
    return re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands_of(text):
    """Returns the commands in order: those of blocks, and those inside of sentences."""
    found = []
    for piece in re.split(r"(^```\w*\n.*?^```$)", text, flags=re.MULTILINE | re.DOTALL):
        if piece.startswith("```"):
            body = blocks(piece + "\n")[0]
            if "import torch" in body:
                found.append(("python", body))
            elif body.startswith("./hb "):
                lines = body.replace("\\\n", " ").splitlines()
                found += [("shell", re.split(r"\s{3,}(?=[a-z])", line)[0].strip()) for line in lines]
        else:
            found += [("shell", line) for line in re.findall(r"`(\./hb [^`]+)`", piece)]
    return [(kind, text) for kind, text in found if kind == "python" or not PLACEHOLDER.search(text)]


def check(condition, text):
    if not condition:
        raise SystemExit(f"readme_snippets: {text}")


def run(kind, command, folder):
    line = [sys.executable, "-c", command] if kind == "python" else ["bash", "-c", command]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, env=environment)
    check(done.returncode == 0, f"{command}\nended with {done.returncode}:\n{done.stderr}{done.stdout}")
    return done.stdout


def check_refusal(shown, folder):
    """The file that README shows as refused, made of the one before it, is refused with these words."""
    plan = folder / "plan.csv"
    text = plan.read_text()
    wrong = text.replace("1I1,1W0,1W1", "1W1,1I1,1W0")
    check(wrong != text, f"README's plan.csv is another one now:\n{text}")
    plan.write_text(wrong)
    done = subprocess.run(["./hb", "verify", "plan.csv"], cwd=folder, capture_output=True, text=True)
    check(done.returncode == 1 and done.stderr.strip() == shown.strip(), done.stderr)


def main(arguments):
    readme, halfback = (pathlib.Path(a).resolve() for a in arguments)
    text = readme.read_text()
    outputs = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "hb").write_text(f'#!/bin/sh\nexec "{halfback}" "$@"\n')
        (folder / "hb").chmod(0o755)
        (folder / "LICENSE").write_bytes((readme.parent / "LICENSE").read_bytes())
        (folder / "studies").symlink_to(readme.parent / "studies")
        for kind, command in commands_of(text):
            if command not in NOT_RUN:
                outputs[command] = run(kind, command, folder)
                print("ran", command.splitlines()[0] if kind == "shell" else "a snippet of Python")
        check(any(kind == "python" for kind, _ in commands_of(text)), "README has no Python any more")
        check(len(outputs) >= 12, f"found only {len(outputs)} commands")

        shown = blocks(text)
        grid = outputs["./hb schedule 1f1b-1 --two-stage off"]
        grid += "\n" + run("shell", "./hb schedule 1f1b-1", folder)
        check(grid in shown, f"the grids are other ones:\n{grid}")
        plan = (folder / "plan.csv").read_text()
        check(plan in shown, f"plan.csv is another one:\n{plan}")
        simulated = outputs["./hb simulate plan.csv --cost 1,1,0.5 --latency 0.1"]
        check(simulated in shown, f"simulate says something else:\n{simulated}")
        trained = next(output for command, output in outputs.items() if "--checkpoint runs/small" in command)
        for line in trained.splitlines()[:3]:
            check(line in text, f"train says: {line}")
        check_refusal(next(block for block in shown if block.startswith("error: plan.csv")), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
