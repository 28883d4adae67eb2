#!/usr/bin/env python3
"""Holds docs/errors.md complete: it lists every error that a user can meet, and a test provokes each.

    errors_test.py ROOT          prints one line a fault, exits 1 if any
    errors_test.py ROOT --write  writes the page again; a new message gets "Cause: ?", for you to fill in
    errors_test.py --self-test   plants each kind of fault in a temporary tree and checks that it is found

The messages come from the sources (errors.py says which). The causes are kept from the page, and so are the remedies of
messages that do not say what to do; of the others the page repeats what they say. A test provokes a message when it has
a piece of its text that no other message has.
"""

import collections
import pathlib
import re
import sys
import tempfile

from errors import CLASSES, Tree, tokens_of

HEAD = """# Errors and what to do about them

Every error that you can cause, with its cause and its remedy. Search this page for some words of the message; the
text in `<...>` differs. The program writes an error as one line, `error: ...`, to standard error. The exit code is 2 when
the request cannot work, and 1 when something fails on the way.

The message of a rank begins with its rank, its position in its list and its action. With several processes, it begins
with the process. `halfback VERB --help` explains an option that is missing, unknown or out of range.

A message `FILE:LINE: CONDITION does not hold` is different: it is a mistake of ours. Please report it.

`tests/tree/errors_test.py . --write` makes this list from the sources.
"""
AREAS = {
    "cli": "Command line and configuration files",
    "halfback/base": "Files",
    "halfback/data": "Texts and images",
    "halfback/data/tokens": "Tokenizers",
    "halfback/schedule": "Schedules",
    "halfback/schedule/families": "Families of schedules",
    "halfback/schedule/search": "Searched schedules",
    "halfback/simulate": "Costs and simulation",
    "halfback/views": "What simulations show",
    "halfback/models": "Models",
    "halfback/layers": "Layers and your own modules",
    "halfback/engine": "Running a step",
    "halfback/launch": "Starting processes",
    "halfback/checkpoint": "Checkpoints",
    "halfback/train": "Training",
    "halfback/measure": "Measuring",
    "halfback/study": "Studies",
    "halfback/transport": "Several processes",
}
# What takes a second machine that does not answer.
HARD_TO_PROVOKE = re.compile("could not connect with all others over")
# The first words of a clause that says what to do.
DO = re.compile(
    r"(add|change|check|choose|close|convert|correct|delete|detach|draw|fetch|give|install|leave|lower|make|move|name|"
    r"put|raise|register|remove|repair|resume|return|run|set|start|take|use|work|wrap|write)\b")
ENTRY = re.compile(r"^\* `` (?P<text>.*) `` \((?P<error>\w+), exit \d\)\n"
                   r"(?:  \* Forms: .*\n)?  \* Cause: (?P<cause>.*)\n  \* Remedy: (?P<remedy>.*)\n", re.M)


def own_remedy(text):
    """What a message says to do, as a sentence; "" if it does not."""
    clauses = re.split(r"; | \((?=use |try )", text)
    for i in range(1, len(clauses)):
        if DO.match(clauses[i]):
            told = "; ".join(clauses[i:]).rstrip(")")
            return told[0].upper() + told[1:].rstrip("?") + "."
    return ""


def entries(messages, page):
    """The lines of each area, with the causes of the page."""
    kept = {(m["text"], m["error"]): m for m in ENTRY.finditer(page)}
    areas = {area: [] for area in AREAS}
    for message in messages:
        old = kept.get((message.text, message.error), {"cause": "?", "remedy": "?"})
        lines = [f"* `` {message.text} `` ({message.error}, exit {CLASSES[message.error]})"]
        if message.forms:
            lines.append("  * Forms: " + ", ".join(f"`` {form} ``" for form in message.forms))
        lines += [f"  * Cause: {old['cause']}", f"  * Remedy: {own_remedy(message.text) or old['remedy']}"]
        areas[str(pathlib.Path(message.path).parent)].append("\n".join(lines) + "\n")
    return areas


def page_of(messages, page):
    areas = entries(messages, page)
    return HEAD + "".join(f"\n## {AREAS[area]}\n\n" + "".join(lines) for area, lines in areas.items() if lines)


def faults(messages, page):
    found = {(m.text, m.error): m for m in messages}
    listed = {(m["text"], m["error"]) for m in ENTRY.finditer(page)}
    for key in found.keys() - listed:
        yield f"{found[key].path}:{found[key].line}: not in docs/errors.md: {key[0]}"
    for text, _ in listed - found.keys():
        yield f"docs/errors.md: no source throws: {text}"
    for entry in ENTRY.finditer(page):
        if "?" in (entry["cause"], entry["remedy"]):
            yield f"docs/errors.md: without cause or remedy: {entry['text']}"
    if page != page_of(messages, page):
        yield "docs/errors.md is not as the sources have it; write it with tests/tree/errors_test.py . --write"


def self_test():
    source = """
        [[noreturn]] void refuse(const std::string& found) {
          throw FileError(fmt::format("{}: {}; expected a tree; plant one", path.string(), found));
        }
        void look() {
          refuse(fmt::format("{} stones", stones.size()));
          const auto give_up = [&](const char* what) { throw Error(what + std::string(" for ever")); };
          give_up("the tree is " + (is_high ? "too high" : "no tree") + "; it stays");
          HALFBACK_CHECK(stones, "throw ConfigError(\\"not read at all\\")");
        }"""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "halfback" / "base").mkdir(parents=True)
        (root / "halfback" / "base" / "tree.cpp").write_text(source)
        messages = Tree(root).messages
        page = page_of(messages, "").replace("Cause: ?", "Cause: A stone.").replace("Remedy: ?", "Remedy: A tree.")
        assert [m.text for m in messages] == [
            "<path>: <found>; expected a tree; plant one",
            "the tree is <too high | no tree>; it stays for ever"], [m.text for m in messages]
        assert messages[0].forms == ["<size of stones> stones"], messages[0].forms
        assert not list(faults(messages, page))
        assert len(list(faults(messages, page.replace("Cause: A stone.", "Cause: ?", 1)))) == 1
        assert any("not in docs" in fault for fault in faults(messages, page.replace("a tree", "a bush")))
        assert any("no source throws" in fault for fault in faults(messages[1:], page))
        assert len(list(unprovoked(messages, "a tree; plant one\nit stays for ever"))) == 0
        assert [m.text for m in unprovoked(messages, "expected a tree; ")] == [messages[1].text]
        other = page.replace("stones ``", "stone ``")
        assert any("is not as the sources" in fault for fault in faults(messages, other))
    return 0


def texts_of_tests(root):
    for path in sorted((root / "tests").rglob("*")):
        if path.suffix in (".cpp", ".h", ".py") and path.parent.name != "tree":
            text = ""
            for token in tokens_of(path.read_text()):
                if token.is_text:
                    text += token
                elif text:
                    yield text
                    text = ""


def unprovoked(messages, texts):
    """The messages of which no test has a piece."""
    marks = [set(message.marks()) for message in messages]
    count = collections.Counter(mark for some in marks for mark in some)
    for message, some in zip(messages, marks):
        own = [mark for mark in some if count[mark] == 1]
        if not any(mark in texts for mark in own if isinstance(mark, str)) and not any(
                re.search(re.escape(mark[0]) + ".{1,80}?" + re.escape(mark[1]), texts) for mark in own
                if not isinstance(mark, str)):
            yield message


def main(root, *options):
    if root == "--self-test":
        return self_test()
    root = pathlib.Path(root)
    path = root / "docs" / "errors.md"
    page = path.read_text() if path.exists() else ""
    messages = Tree(root).messages
    if "--write" in options:
        page = page_of(messages, page)
        path.write_text(page)
    found = sorted(faults(messages, page))
    texts = "\n".join(texts_of_tests(root))
    found += [f"{m.path}:{m.line}: no test provokes: {m.text}" for m in unprovoked(messages, texts)
              if not HARD_TO_PROVOKE.search(m.text)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
