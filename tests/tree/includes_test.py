#!/usr/bin/env python3
"""Checks which folder includes which, and where torch headers may stand.

    includes_test.py ROOT         checks halfback/, cli/ and python/ under ROOT; prints one line a fault, exits 1 if any
    includes_test.py --self-test  plants each kind of fault in a temporary tree and checks that it is found
"""

import pathlib
import re
import sys
import tempfile

# What a folder may include besides itself. An arrow that is not here is a fault: add it on purpose,
# and in docs/architecture.md.
ARROWS = {
    "base": "",
    "launch": "base",
    "schedule": "base",
    "timeline": "schedule base",
    "simulate": "timeline schedule base",
    "views": "simulate timeline schedule base",
    "plan": "simulate timeline schedule base",
    "kernels": "",
    "layers": "kernels base",
    "models": "layers base",
    "transport": "schedule base",
    "group": "transport base",
    "data": "base",
    "engine": "layers kernels data group transport schedule timeline base",
    "checkpoint": "engine models layers data transport base",
    "train": "checkpoint engine models data transport schedule timeline base",
    "study": "base",
    "measure": "study train checkpoint engine layers models data simulate timeline schedule base",
}
ARROWS = {folder: set(targets.split()) for folder, targets in ARROWS.items()}
ARROWS["cli"] = set(ARROWS)
ARROWS["python"] = set("views simulate timeline schedule base".split())
ARROWS["python/torch"] = set("engine layers transport schedule base".split())
TORCH_FREE = {"base", "launch", "schedule", "timeline", "simulate", "views", "plan", "study", "python"}
TORCH = re.compile(r"(torch|ATen|c10|caffe2)/")
WHOLE_TORCH = {"torch/torch.h", "torch/nn.h"}  # half a minute a file
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)')


def fault_of(folder, quote, header):
    """Says what is wrong when a file of `folder` includes `header`; None when nothing is."""
    if TORCH.match(header):
        if folder in TORCH_FREE:
            return f"{folder} may include no torch header"
        if header in WHOLE_TORCH:
            return "too slow to compile; include ATen/core/Tensor.h and what is needed under ATen/ops"
        return None
    top, _, rest = header.partition("/")
    if top == "halfback" and "/" in rest:
        target = rest.split("/")[0]
    elif top in ("cli", "python"):
        target = "python/torch" if header.startswith("python/torch/") else top
    elif quote == '"':
        return 'quotes are for paths from the root: "halfback/..." or "cli/..."'
    else:
        return None
    if target != folder and target not in ARROWS[folder]:
        allowed = " ".join(sorted(ARROWS[folder])) or "nothing"
        return f"{folder} may not include {target}; besides itself it may include: {allowed}"
    return None


def folder_of(place):
    """The folder whose arrows a file has."""
    if place.parts[0] == "halfback":
        return place.parts[1]
    return "python/torch" if place.parts[:2] == ("python", "torch") else place.parts[0]


def faults(root):
    """Lists the faults of a tree as "file:line: include: reason"."""
    found = []
    sources = [p for top in ("halfback", "cli", "python") for p in sorted((root / top).rglob("*")) if p.is_file()]
    for path in sources:
        place = path.relative_to(root)
        folder = folder_of(place)
        if path.suffix not in (".h", ".cpp"):
            continue
        if folder not in ARROWS:
            found.append(f"{place}:1: no arrows are listed for the folder {folder}")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            include = INCLUDE.match(line)
            reason = include and fault_of(folder, *include.groups())
            if reason:
                found.append(f"{place}:{number}: {include[2]}: {reason}")
    if not sources:
        found.append(f"{root}: no source files in halfback/ and cli/")
    return found


SOUND = {
    "halfback/base/error.h": '#include <string>\n// #include "halfback/train/run.h"\n',
    "halfback/simulate/simulator.cpp": '#include "halfback/simulate/simulator.h"\n#include "halfback/timeline/timeline.h"\n',
    "halfback/layers/linear.cpp": '#include <ATen/ops/mm.h>\n#include <torch/csrc/autograd/engine.h>\n',
    "python/src/core/run.cpp": '#include "python/src/core/bindings.h"\n#include "halfback/views/page.h"\n',
    "python/torch/src/split.cpp": '#include "halfback/layers/autograd_graph.h"\n#include <torch/csrc/utils/pybind.h>\n',
    "python/torch/src/engine.h": '#include "python/torch/src/calls.h"\n#include "halfback/engine/pipeline.h"\n',
    "cli/main.cpp": '#include "cli/verbs.h"\n#include "halfback/train/run.h"\n#include <CLI/CLI.hpp>\n',
}
PLANTED = [
    ("halfback/base/a.h", '#include "halfback/schedule/action.h"', "base may not include schedule"),
    ("halfback/simulate/a.cpp", '#include "halfback/engine/stage.h"', "simulate may not include engine"),
    ("halfback/engine/a.cpp", '#include "halfback/simulate/cost.h"', "engine may not include simulate"),
    ("halfback/engine/a.cpp", "#include <halfback/simulate/cost.h>", "engine may not include simulate"),
    ("halfback/layers/a.h", '# include "halfback/schedule/action.h"', "layers may not include schedule"),
    ("halfback/train/a.cpp", '#include "cli/verbs.h"', "train may not include cli"),
    ("halfback/schedule/a.cpp", "#include <ATen/core/Tensor.h>", "schedule may include no torch header"),
    ("halfback/timeline/a.cpp", '#include "torch/types.h"', "timeline may include no torch header"),
    ("halfback/plan/a.cpp", "#include <c10/util/Exception.h>", "plan may include no torch header"),
    ("halfback/base/a.cpp", "#include <caffe2/serialize/versions.h>", "base may include no torch header"),
    ("halfback/layers/a.cpp", "#include <torch/torch.h>", "too slow to compile"),
    ("cli/a.cpp", "#include <torch/nn.h>", "too slow to compile"),
    ("halfback/views/a.cpp", '#include "python/src/core/bindings.h"', "views may not include python"),
    ("cli/a.cpp", '#include "python/src/core/bindings.h"', "cli may not include python"),
    ("python/src/core/a.cpp", '#include "halfback/layers/layer.h"', "python may not include layers"),
    ("python/src/core/a.cpp", "#include <ATen/core/Tensor.h>", "python may include no torch header"),
    ("python/torch/src/a.cpp", '#include "halfback/data/tokens.h"', "python/torch may not include data"),
    ("halfback/engine/a.cpp", '#include "stage.h"', "quotes are for paths from the root"),
    ("halfback/engine/a.cpp", '#include "../simulate/cost.h"', "quotes are for paths from the root"),
    ("halfback/attic/a.cpp", "", "no arrows are listed for the folder attic"),
    ("halfback/kernels/a.cpp", '#include "halfback/base/error.h"', "kernels may not include base"),
]


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    return path


def self_test():
    """Lists what the check got wrong about sound and planted trees."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        if not faults(root):
            wrong.append("an empty tree passes")
        for name, text in SOUND.items():
            write(root, name, text)
        wrong += [f"sound, but refused: {fault}" for fault in faults(root)]
        for name, include, reason in PLANTED:
            path = write(root, name, include)
            found = faults(root)
            if len(found) != 1 or not found[0].startswith(f"{name}:1: ") or reason not in found[0]:
                wrong.append(f"{name}: {include}: expected one fault with '{reason}', found {found}")
            path.unlink()
    return wrong


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    found = self_test() if arguments == ["--self-test"] else faults(pathlib.Path(arguments[0]))
    print("\n".join(found) if found else "no faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
