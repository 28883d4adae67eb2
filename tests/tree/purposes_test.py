#!/usr/bin/env python3
"""Checks that no two draws share a key: each Purpose of keyed_random.h is named in one place, and its value is its own.

    purposes_test.py ROOT         checks halfback/ and cli/ under ROOT; prints one line a fault, exits 1 if any
    purposes_test.py --self-test  plants each kind of fault in a temporary tree and checks that it is found
"""

import pathlib
import re
import sys
import tempfile

from includes_test import write

HEADER = "halfback/base/keyed_random.h"
ENUM = re.compile(r"enum class Purpose[^{]*\{(.*?)\};", re.S)
# Hashes without a purpose are for those whose words are keyed already.
UNKEYED = {HEADER, "halfback/base/keyed_random.cpp"}


def without_comments(text):
    return re.sub(r"//[^\n]*", "", text)


def faults(root):
    """Lists the faults of a tree, one line each."""
    header = root / HEADER
    enum = ENUM.search(without_comments(header.read_text())) if header.is_file() else None
    if not enum:
        return [f"{HEADER}: no enum class Purpose"]
    purposes = [name.strip() for name in enum[1].split(",") if name.strip()]
    found = [f"{HEADER}: {name}: leave its value to the compiler" for name in purposes if "=" in name]
    users = {name: [] for name in purposes}
    for path in sorted(p for top in ("halfback", "cli") for p in (root / top).rglob("*") if p.suffix in (".h", ".cpp")):
        place = str(path.relative_to(root))
        text = without_comments(path.read_text())
        for name in re.findall(r"\bPurpose::(\w+)", text):
            users.setdefault(name, []).append(place)
        if place not in UNKEYED and "mixed_bits(" in text:
            found.append(f"{place}: mixed_bits has no purpose; use keyed_hash")
    for name, places in users.items():
        if len(places) != 1:
            found.append(f"Purpose::{name}: named in {', '.join(places) or 'no place'}; expected one place")
    return found


SOUND = {
    HEADER: "enum class Purpose : int {\n  Order,  // key: seed, epoch\n  Label,\n};\nint mixed_bits(int);",
    "halfback/data/a.cpp": "keyed_hash(Purpose::Order, {seed});  // Purpose::Label",
    "halfback/data/b.cpp": "keyed_hash(Purpose::Label, {seed});",
}
PLANTED = [
    ("halfback/data/b.cpp", "keyed_hash(Purpose::Order, {}); keyed_hash(Purpose::Label, {});", "named in halfback/data/a.cpp, halfback"),
    ("halfback/data/b.cpp", "", "Purpose::Label: named in no place"),
    ("halfback/data/c.cpp", "mixed_bits({seed})", "halfback/data/c.cpp: mixed_bits has no purpose"),
    (HEADER, "enum class Purpose { Order = 1, Label };", "Order = 1: leave its value"),
    (HEADER, "", "no enum class Purpose"),
]  # fmt: skip


def self_test():
    """Lists what the check got wrong about sound and planted trees."""
    wrong = []
    for name, text, reason in [("", "", "")] + PLANTED:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for place, sound in SOUND.items():
                write(root, place, sound)
            if name:
                write(root, name, text)
            found = faults(root)
            if not reason and found or reason and not any(reason in fault for fault in found):
                wrong.append(f"{name}: {text}: expected '{reason}', found {found}")
    return wrong


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    wrong = self_test() if arguments[0] == "--self-test" else faults(pathlib.Path(arguments[0]))
    print("\n".join(wrong) or "no faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
