"""Reads from the sources every error that a user can meet, with its text.

A throw of ConfigError, ScheduleError, FileError, TransportError or Error is an error of users. HALFBACK_CHECK is for
our own mistakes and is not read. A throw in PASSED_ON without words of its own, as `throw FileError(refused.front())`,
passes an error on and is not read either. Where a throw takes its words from a parameter, the calls of that function
are read.
"""

import functools
import pathlib
import re

CLASSES = {"ConfigError": 2, "ScheduleError": 1, "FileError": 1, "TransportError": 1, "DivergedError": 1, "RefusedError": 1, "Error": 1}
# The functions that make a text which another throws: of the file that throws, the file and the names.
MADE_BY = {
    "halfback/schedule/csv.cpp": ("halfback/schedule/csv_header.cpp", r"read_\w+"),
    "halfback/schedule/fault.cpp": ("halfback/schedule/fault.cpp", "describe_mismatch"),
    "halfback/schedule/losses.cpp": ("halfback/schedule/losses.cpp", "fault_of"),
}
# A text with one of these words says by itself what is wrong; its callers only name the thing.
OWN_WORDS = re.compile("expected|cannot|must|is missing|known|at least|waited|not JSON")
# Files that throw errors of others again, whole or with the place in front.
PASSED_ON = set("""cli/joined_run.cpp cli/study_runs.cpp halfback/launch/launcher.cpp halfback/engine/pipeline_rank.cpp
halfback/checkpoint/config_reader.h halfback/checkpoint/kept_checkpoints.cpp halfback/checkpoint/peers.cpp
halfback/train/process_run.cpp halfback/transport/gloo_channel.cpp halfback/transport/process_group.cpp
halfback/transport/processes.cpp halfback/transport/refusal.cpp""".split())
TOKEN = re.compile(r"""
    (?P<skip>\s+|//[^\n]*|/\*.*?\*/|\#[^\n]*(?:\\\n[^\n]*)*) |
    (?P<raw>R"\((?P<body>.*?)\)") | (?P<text>"(?:\\.|[^"\\])*") | (?P<char>'(?:\\.|[^'\\])+') |
    (?P<word>[A-Za-z_]\w*) | (?P<number>\d[\w'.]*) | (?P<sign>::|->|\[\[|\]\]|&&|\|\||.)""", re.S | re.X)
OPEN, CLOSE = "([{", ")]}"
RUN = 12
DULL = set("""string str c_str dump substr front back size value value_or what get at first second data begin end std
move forward max min to_string quote join name_of describe printable count filename parent_path path error halfback fmt
static_cast int int64_t size_t double string_view char unsigned none_of shown listed quoted count_of detail c10 at
toString describe_place brief_losses type_name get_name""".split())


class Token(str):
    """A word, sign or number; of a literal, what it says."""
    is_text = False
    line = 0


def tokens_of(source):
    tokens, line = [], 1
    for match in TOKEN.finditer(source):
        if not match["skip"]:
            raw = match["text"] is None and match["raw"] is not None
            text = match["body"] if raw else match[0]
            if match["text"]:
                text = re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t", "0": "\0"}.get(m[1], m[1]), match[0][1:-1])
            token = Token(text)
            token.is_text = raw or match["text"] is not None
            token.line = line
            tokens.append(token)
        line += match[0].count("\n")
    return tokens


def is_sign(token, signs):
    return not token.is_text and token in signs


def pairs_of(tokens):
    """The other end of each bracket."""
    pairs, stack = {}, []
    for i, token in enumerate(tokens):
        if is_sign(token, ("(", "[", "{", "[[")):
            stack.append(i)
        elif is_sign(token, (")", "]", "}", "]]")) and stack:
            begin = stack.pop()
            pairs[begin], pairs[i] = i, begin
    return pairs


def split(tokens, sign):
    """The parts between top-level signs."""
    parts, depth = [[]], 0
    for token in tokens:
        depth += is_sign(token, OPEN) and len(token) == 1
        depth -= is_sign(token, CLOSE) and len(token) == 1
        if depth == 0 and is_sign(token, (sign,)):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


class Function:
    def __init__(self, name, parameters, body):
        self.name = name
        self.parameters = parameters
        self.body = body  # begin and end among the file's tokens


class File:
    def __init__(self, path, source):
        self.path = path
        self.includes = set(re.findall(r'#include "(.*)"', source))
        self.tokens = tokens_of(source)
        self.pairs = pairs_of(self.tokens)
        self.functions = [f for f in map(self._function, range(len(self.tokens))) if f]
        self.constants = {m[1]: "".join(re.findall(r'"((?:\\.|[^"\\])*)"', m[2])) for m in re.finditer(
            r'\b(k[A-Z]\w*)(?:\[\])?\s*[={]\s*((?:"(?:\\.|[^"\\])*"\s*)+)}?;', source)}

    def _function(self, i):
        """The function or named lambda whose body begins at token i."""
        if not is_sign(self.tokens[i], ("{",)) or i not in self.pairs:
            return None
        j = i - 1
        while j > 0 and re.fullmatch(r"const|noexcept|override|->|[\w:<>]+|[&*]", self.tokens[j]) and not \
                self.tokens[j].is_text:
            j -= 1
        if not is_sign(self.tokens[j], (")",)) or j not in self.pairs:
            return None
        begin = self.pairs[j]
        name = self.tokens[begin - 1]
        if is_sign(name, ("]",)):
            before = self.pairs[begin - 1] - 1
            name = self.tokens[before - 1] if is_sign(self.tokens[before], ("=",)) else Token("lambda")
        if not re.fullmatch(r"\w+", name) or name in ("if", "for", "while", "switch", "catch", "constexpr"):
            return None
        parameters = [part[-1] if part else "" for part in
                      ([t for t in split(part, "=")[0]] for part in split(self.tokens[begin + 1:j], ","))]
        return Function(str(name), [str(p) for p in parameters], (i, self.pairs[i]))

    def around(self, i):
        """The functions around token i, the innermost first."""
        return sorted((f for f in self.functions if f.body[0] < i < f.body[1]), key=lambda f: f.body[1] - f.body[0])


class Hole(str):
    """A part of a text that differs from time to time; `parameter` is set where the caller gives it."""
    parameter = None


def hole_name(tokens):
    words = [t for t in tokens if not t.is_text and re.fullmatch(r"[A-Za-z_]\w*", t)]
    if "suggestion" in words:
        return "did you mean"
    if any(w in ("message", "what", "reason", "json_reason", "c10d_reason", "strerror", "zError", "gai_strerror",
                 "error_message", "what_without_backtrace") for w in words) and \
            any(re.search("error|fault|reason|status|code", w) for w in words):
        return "reason"
    operators = [t for t in tokens if is_sign(t, "+-*/")]
    if operators and not is_sign(tokens[0], "*+-") and not any(is_sign(t, "([{?,") or t.is_text for t in tokens):
        pieces = re.split(r"( [-+*/] )", " ".join(f"{t}" for t in tokens))
        return "".join(p if re.fullmatch(r" [-+*/] |[\d.]+", p) else hole_name(tokens_of(p)) for p in pieces)
    if "draw_lists" in words:
        return "the lists around it"
    count = "size of " if "size" in words and words[-1] == "size" or "ssize" in words else ""
    words = [w for w in words if not re.match("k[A-Z]", w)] or words
    good = [w.strip("_") for w in words if w not in DULL and not w.startswith("is_")] or \
        [w.strip("_") for w in words if w not in ("fmt", "std")][:1]
    name = good[-1] if good else "value"
    name = re.sub(r"^k([A-Z])", lambda m: m[1].lower(), name)
    name = re.sub(r"(?<=[a-z])([A-Z])", lambda m: " " + m[1].lower(), name)
    name = re.sub(r"^num[_ ]", "number of ", name)
    name = name.replace("micro_batch", "micro-batch").replace("_", " ")
    return count + name


class Reader:
    """Renders an expression of a text as a list of strings and holes."""

    def __init__(self, tree, file, at):
        self.tree, self.file, self.at = tree, file, at
        self.functions = file.around(at)

    def parts(self, tokens, depth=0):
        while tokens and is_sign(tokens[0], ("(",)) and self._closes(tokens) == len(tokens) - 1:
            tokens = tokens[1:-1]
        if not tokens:
            return []
        if all(t.is_text for t in tokens):
            return ["".join(tokens)]
        if is_sign(tokens[0], ("[",)) and "return" in tokens:
            begin = tokens.index("return")
            return self.parts(split(tokens[begin + 1:-1], ";")[0], depth)
        question = split(tokens, "?")
        if len(question) > 1:
            rest = tokens[len(question[0]) + 1:]
            yes = split(rest, ":")[0]
            if "?" in yes:
                yes = rest[:len(rest) - len(split(rest, ":")[-1]) - 1]
            no = rest[len(yes) + 1:]
            if list(yes) == ["std", "::", "string", "{", "}"]:
                return self.parts(no, depth)
            return self._either(self.parts(yes, depth), self.parts(no, depth), tokens)
        plus = split(tokens, "+")
        if len(plus) > 1:
            pieces = [piece for part in plus for piece in self.parts(part, depth)]
            if words_of(pieces) or any(t.is_text for t in tokens):
                return pieces
        for head in (["fmt", "::", "format", "("], ["std", "::", "string", "("]):
            if list(tokens[:len(head)]) == head and self._closes(tokens, len(head) - 1) == len(tokens) - 1:
                inside = split(tokens[len(head):-1], ",")
                return self._format(inside, depth) if head[2] == "format" else self.parts(inside[0], depth)
        return self._name(tokens, depth)

    def _closes(self, tokens, begin=0):
        depth = 0
        for i in range(begin, len(tokens)):
            depth += is_sign(tokens[i], OPEN)
            depth -= is_sign(tokens[i], CLOSE)
            if depth == 0:
                return i
        return -1

    def _either(self, yes, no, tokens):
        texts = [part[0] if len(part) == 1 else show(part) for part in (yes, no)]
        if any(isinstance(piece, Hole) and piece.parameter for piece in yes + no):
            return yes if words_of(yes) >= words_of(no) else no
        if not (texts[0] or texts[1]):
            return []
        if not any(type(piece) is str for piece in yes + no):
            return [Hole(hole_name(tokens))]
        texts = [text for text in texts if text]
        return [Hole(" | ".join(texts) if len(texts) > 1 else f"{texts[0]} | nothing")]

    def _format(self, arguments, depth):
        if not any(t.is_text for t in arguments[0]):
            return [Hole(hole_name(arguments[0]))]
        pattern = "".join(t for t in arguments[0])
        values = iter(arguments[1:])
        parts = []
        for literal, hole in re.findall(r"((?:[^{}]|\{\{|\}\})*)(\{[^{}]*\})?", pattern):
            if literal:
                parts.append(literal.replace("{{", "{").replace("}}", "}"))
            if hole:
                parts += self.parts(next(values, [Token("value")]), depth)
        return parts

    def _name(self, tokens, depth):
        words = [t for t in tokens if not is_sign(t, ("*", "std", "::", "move", "(", ")", "forward"))]
        if list(words[1:]) == [".", "what"]:
            words = words[:1]
        if len(words) > 1 and self.file.path in MADE_BY and re.fullmatch(MADE_BY[self.file.path][1], words[0]):
            return [Hole("fault")]
        if len(words) == 1:
            name = words[0]
            for function in self.functions:
                if name in function.parameters:
                    hole = Hole(hole_name(tokens))
                    hole.parameter = (function, function.parameters.index(name))
                    return [hole]
            if name in self.file.constants and self.file.constants[name]:
                return [self.file.constants[name]]
            if depth == 0 and self.functions:
                made = self._local(name)
                if words_of(made) > 2:
                    return made
        return [Hole(hole_name(tokens))]

    def _local(self, name):
        """What a variable of the function begins with."""
        tokens = self.file.tokens
        begin, end = self.functions[-1].body
        for i in range(begin, self.at):
            if tokens[i] == name and is_sign(tokens[i + 1], ("=",)):
                return self.parts(split(tokens[i + 2:end], ";")[0], 1)
        return []


def show(parts):
    return "".join(f"<{part}>" if isinstance(part, Hole) else part for part in parts)


def words_of(parts):
    """How many words of its own a text has."""
    own = [part for part in parts if not isinstance(part, Hole) or " | " in part]
    return sum(len(re.findall(r"[A-Za-z]{2,}", part.replace(" | nothing", ""))) for part in own)


class Message:
    def __init__(self, error, file, line, parts):
        self.error, self.path, self.line, self.parts = error, file.path, line, parts
        self.forms = []
        self.instances = [parts]  # also with what each caller gives

    def marks(self):
        """Patterns of which a text that no other message has shows a piece of this one: the runs of 12 characters,
        and what stands at both sides of a hole."""
        for parts in self.instances:
            pieces = [""]
            for part in parts:
                if isinstance(part, Hole):
                    pieces += [None, ""]
                else:
                    pieces[-1] += part
            choices = [choice for part in parts if isinstance(part, Hole) and " | " in part
                       for choice in part.split(" | ")]
            for text in [piece for piece in pieces + choices if piece and len(piece) > 8]:
                yield from {text[i:i + RUN] for i in range(max(1, len(text) - RUN + 1))}
            for before, after in zip(pieces[::2], pieces[2::2]):
                for length in (RUN, 4 * RUN):
                    if before and len(before[-RUN:] + after[:length]) >= RUN - 2:
                        yield before[-RUN:], after[:length]

    @property
    def text(self):
        return " ".join(show(self.parts).split("\n")[0].split())


class Tree:
    def __init__(self, root):
        self.files = [File(str(path.relative_to(root)), path.read_text()) for folder in ("cli", "halfback")
                      for path in sorted((root / folder).rglob("*")) if path.suffix in (".cpp", ".h")]
        shared = {name: text for f in self.files if f.path.endswith(".h") for name, text in f.constants.items()}
        for file in self.files:
            file.constants = shared | file.constants

    def throws(self):
        """The file, class, place and expression of each throw."""
        for file in self.files:
            tokens = file.tokens
            for i, token in enumerate(tokens[:-3]):
                if is_sign(token, ("throw", "return")) and tokens[i + 1] in CLASSES and tokens[i + 2] == "(":
                    yield file, str(tokens[i + 1]), i, split(tokens[i + 3:file.pairs[i + 2]], ",")[0]

    @functools.cached_property
    def messages(self):
        found = []
        for file, error, at, expression in self.throws():
            parts = Reader(self, file, at).parts(expression)
            message = Message(error, file, file.tokens[at].line, parts)
            texts = [one for one in self._spread(message, file, 0) if words_of(one.parts) > 1]
            if not (file.path in PASSED_ON and message.text.endswith("<reason>")):
                found += texts
            if not texts and file.path not in PASSED_ON:
                found.append(message)
        together = {}
        for message in found:
            same = re.sub(r"<[^<>|]*>", "<>", message.text)
            one = together.setdefault((same, message.error), message)
            one.forms += [form for form in message.forms if form not in one.forms]
            one.instances += message.instances
        return list(together.values())

    def _spread(self, message, file, depth):
        """The message, or one for each caller where the callers have the words."""
        given = [part for part in message.parts if isinstance(part, Hole) and part.parameter]
        if not given or depth > 6:
            return self._made(message, file)
        function = given[0].parameter[0]
        calls = []
        for other, at, arguments in self._calls(function, file):
            texts = {}
            for hole in given:
                if hole.parameter[0] is function and hole.parameter[1] < len(arguments):
                    argument = arguments[hole.parameter[1]]
                    if argument and is_sign(argument[0], ("{",)):
                        argument = split(argument[1:-1], ",")[-1]
                    texts[id(hole)] = Reader(self, other, at).parts(argument)
            if any(words_of(text) or any(isinstance(p, Hole) and p.parameter for p in text) for text in texts.values()):
                calls.append((other, at, texts))
        if sum(1 for call in calls if any(words_of(t) for t in call[2].values())) == 0 and words_of(message.parts) > 2:
            return self._made(message, file)
        if words_of(message.parts) > 5 or OWN_WORDS.search(show([p for p in message.parts if not isinstance(p, Hole)])):
            message.forms = sorted({"; ".join(" ".join(show(t).split()) for t in call[2].values() if words_of(t))
                                    for call in calls})
            message.forms = [form for form in message.forms if " " in form]
            message.instances += [[piece for part in message.parts for piece in texts.get(id(part), [part])]
                                  for _, _, texts in calls]
            return [message]
        spread = []
        for other, at, texts in calls:
            parts = [piece for part in message.parts for piece in texts.get(id(part), [part])]
            one = Message(message.error, other, other.tokens[at].line, parts)
            spread += self._spread(one, other, depth + 1)
        return spread or self._made(message, file)

    def _made(self, message, file):
        """One message for each text that another function makes."""
        path, names = MADE_BY.get(file.path, (None, None))
        for i, part in enumerate(message.parts):
            if path and isinstance(part, Hole) and part in ("fault", "reason"):
                maker = next(f for f in self.files if f.path == path)
                return [Message(message.error, maker, maker.tokens[at].line,
                                message.parts[:i] + parts + message.parts[i + 1:])
                        for function in maker.functions if re.fullmatch(names, function.name)
                        for at, parts in self._returns(maker, function) if words_of(parts) > 2]
        return [message]

    def _returns(self, file, function):
        for i in range(*function.body):
            if file.tokens[i] == "return" and not file.tokens[i].is_text:
                yield i, Reader(self, file, i).parts(split(file.tokens[i + 1:function.body[1]], ";")[0])

    def _calls(self, function, file):
        """The file, place and arguments of each call of a function of `file`."""
        stem = file.path.rsplit(".", 1)[0]
        outer = [f for f in file.around(function.body[0]) if f is not function]
        for other in self.files:
            is_near = other.path.rsplit(".", 1)[0] == stem
            if outer and other is not file or not is_near and f"{stem}.h" not in other.includes:
                continue
            begin, end = outer[0].body if outer else (0, len(other.tokens) - 1)
            if other is not file and any(f.name == function.name for f in other.functions):
                continue
            for i in range(begin, end):
                token = other.tokens[i]
                if token == function.name and not token.is_text and is_sign(other.tokens[i + 1], ("(",)):
                    arguments = split(other.tokens[i + 2:other.pairs[i + 1]], ",")
                    if other.around(i) and len(arguments) <= len(function.parameters):
                        yield other, i, arguments
