"""The facts about Windows that scripts, tables of codes and lab rest on: ``docs/windows-facts.md``, read by a program.

What the code uses is extracted from its text as tokens (a code, a Windows function, a registry key …). Each token must
be named by a row, and each token that a row names must be used somewhere. ``python -m tests.facts`` (``make facts``)
checks that and prints the counts as one JSON object in its last line; its exit status is 1 when a rule is broken.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
TABLE = PROJECT / "docs" / "windows-facts.md"
LEAST_FACTS, MOST_LAB_ONLY = 60, 20
HEAD = "| fact | where | evidence | used |"
OWN_HEAD = "| number | what it is |"
RUN_ON = (
    "PowerShell 7.6 engine on Linux",
    "PowerShell 7.6.5 on Linux",
    "Samba 4.17 AD",
    "Samba 4.17 libnetapi",
    "Wine 8 with .NET Core 3.1",
    "pywinrm 0.5",
    "OpenSSH on Debian",
)
"""Real programs on which something was seen; no row may name another one."""
SMALL = 100
"""Below it a number in a script says nothing without the call it stands in, which has a row of its own."""

URL = r"https://[^\s,|<>]+"
DATED = re.compile(rf"(recorded by others|documented), {URL}(?: and {URL})*, read (20\d\d-\d\d-\d\d)")
RUN = re.compile(rf"run on ({'|'.join(map(re.escape, RUN_ON))})")
LAB_ONLY = re.compile(r"lab only, check: `[^`]{8,}`")
CODE_SPAN = re.compile(r"`([^`]+)`")

Token = int | str
"""A number by its value; all else as it stands in the table."""


class BrokenTable(ValueError):
    """The table is not as its first lines say; the text begins with the line."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One row. ``kind``: run, recorded, documented or lab_only, by the first piece of evidence."""

    line: int
    text: str
    where: tuple[str, ...]
    kind: str
    used: frozenset[Token]


@dataclass(frozen=True, slots=True)
class Table:
    facts: list[Fact]
    own: dict[int, int]
    """Numbers of the code that are no fact about Windows → the line which says so."""


@dataclass(frozen=True, slots=True)
class Use:
    """A token where it stands in the code."""

    token: Token
    file: str
    line: int


# the table


def read(text: str) -> Table:
    """The table in ``text``. Raise :class:`BrokenTable` with the number of the line that is not as it should be."""
    facts = [_fact(line, cells) for line, cells in _rows(text, HEAD)]
    own: dict[int, int] = {}
    for line, (numbers, words) in _rows(text, OWN_HEAD):
        for number in _tokens(line, numbers):
            if not isinstance(number, int) or number in own or not words:
                raise BrokenTable(f"line {line}: {number} is no number, stands here twice, or has no words")
            own[number] = line
    seen: dict[str, int] = {}
    for fact in facts:
        if fact.text in seen:
            raise BrokenTable(f"line {fact.line}: the same fact as in line {seen[fact.text]}")
        seen[fact.text] = fact.line
    return Table(facts, own)


def _rows(text: str, head: str) -> Iterator[tuple[int, list[str]]]:
    """Every row of every table that has this head."""
    inside, width = False, head.count("|") - 1
    for number, line in enumerate(text.splitlines(), 1):
        if line == head:
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not re.fullmatch(r"[|-]+", line):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
            if len(cells) != width:
                raise BrokenTable(f"line {number}: {len(cells)} cells and not {width}")
            yield number, cells


def _fact(line: int, cells: list[str]) -> Fact:
    text, where, evidence, used = cells
    files = tuple(CODE_SPAN.findall(where))
    if len(text) < 20 or not files:
        raise BrokenTable(f"line {line}: a fact is a sentence, and names at least one file in back-ticks")
    missing = [name for name in files if not (PROJECT / "pwserver" / name).exists()]
    if missing:
        raise BrokenTable(f"line {line}: no file pwserver/{missing[0]}")
    kinds = [_kind(line, piece.strip()) for piece in evidence.split("<br>")]
    return Fact(line, text, files, kinds[0], frozenset(_tokens(line, used)) if used != "-" else frozenset())


def _kind(line: int, evidence: str) -> str:
    if dated := DATED.fullmatch(evidence):
        return "documented" if dated[1] == "documented" else "recorded"
    if RUN.fullmatch(evidence):
        return "run"
    if LAB_ONLY.fullmatch(evidence):
        return "lab_only"
    raise BrokenTable(f"line {line}: no evidence that is known: {evidence}")


def _tokens(line: int, cell: str) -> list[Token]:
    tokens = [_token(each) for each in CODE_SPAN.findall(cell)]
    if not tokens or CODE_SPAN.sub("", cell).replace(",", "").strip():
        raise BrokenTable(f"line {line}: tokens stand in back-ticks, with commas between them: {cell}")
    return tokens


def _token(text: str) -> Token:
    if re.fullmatch(r"0x[0-9A-Fa-f]+", text):
        return int(text, 16)
    return int(text) if text.isdecimal() else text


def show(token: Token) -> str:
    """A token as it is written in the table: large numbers as Windows' documents write them."""
    return str(token) if isinstance(token, str) or token < 0x10000 else f"0x{token:08X}"


# what the code uses

CONNECTORS, LAB = PROJECT / "pwserver" / "connectors", PROJECT / "pwserver" / "lab"
TABLES = ("codes", "domain_codes", "directory_codes")
WITHOUT_WINDOWS = frozenset({
    "base", "contract", "device", "device_login", "device_protocol", "ssh", "kinds", "kerberos_child", "__main__",
    "certificates", "control", "defaults", "devices", "engine_mind", "faults", "listen", "network", "switch", "truth",
    "wire",
})  # fmt: skip
"""Modules of both folders that speak to no Windows: their numbers are our own."""
ATTRIBUTE = re.compile(r"(?!yyyy)(?:msDS-[A-Za-z-]+|[a-z]+[A-Z][A-Za-z]+)\Z")
DIRECTORY = ("directory", "pdc.py", "domain.ps1", "_domain.ps1", "native_domain.cs", "mind_domain")
"""In files with these words in their names, camel-case texts are attributes of a directory."""

TEXTS: tuple[tuple[str, str], ...] = (
    (r"\bSe(?:Deny)?[A-Z][a-z]+(?:Logon)?(?:Right|Privilege)\b", ""),
    (r"\bS-1-\d+(?:-\d+)*-?", ""),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", ""),
    (r"(?:SOFTWARE|SYSTEM|Cluster)(?:\\{1,2}[A-Za-z][\w ]*)+", ""),
    (r"-ComObject ([\w.]+)", ""),
    (r"\bKey(?:Number|Text)\([^,]+, '(\w+)'", "value "),
    (r"value=\"(\w+)\"", "value "),
    (r"\bWINRS_[A-Z_]+\b", ""),
    (r"RegisterTaskDefinition\([^,]+,[^,]+, (\d+)", "flags "),
    (r"-band (\d+)\)", "bit "),
    (r"['\"]-(\d{3})['\"]", ""),
)
"""What is a token wherever it stands: a pattern (its group, if it has one), and what stands before it in the table."""
COMMAND = re.compile(r"(?<![\w$'-])[A-Z][a-z]+-[A-Z][A-Za-z]+\b(?!\()")
PARAMETER = re.compile(r" (-[A-Z][A-Za-z]+)")
IMPORT = re.compile(r"\[DllImport\(([^\]]*)\)\]\s*static extern [\w\[\]]+ (\w+)\(")
NUMBER = re.compile(r"(?<![\w.\-{])(0x[0-9A-Fa-f]+|\d+)(?![\w.])")


def sources() -> list[Path]:
    """The files whose tokens need a row."""
    python = [*CONNECTORS.glob("*.py"), *LAB.glob("*.py"), *(LAB / "model").glob("*.py")]
    scripts = [path for path in (CONNECTORS / "scripts").iterdir() if path.suffix in (".ps1", ".cs", ".py")]
    doubles = [path for path in (LAB / "doubles").iterdir() if path.suffix in (".ps1", ".cs", ".c")]
    known = [path for path in python if path.stem not in WITHOUT_WINDOWS]
    return sorted([*known, *scripts, *doubles, PROJECT / "pwserver" / "core" / "protected_groups.py"])


def uses(files: Iterable[Path] | None = None) -> list[Use]:
    """Every token of these files, or of all :func:`sources`."""
    return [use for path in files or sources() for use in _uses_of(path)]


def _uses_of(path: Path) -> Iterator[Use]:
    name = path.relative_to(PROJECT).as_posix() if path.is_relative_to(PROJECT) else path.name
    text = path.read_text(encoding="utf-8")
    found = _in_python(path, text) if path.suffix == ".py" else _in_script(path, text)
    for line, token in found:
        yield Use(token, name, line)


def _in_script(path: Path, text: str) -> Iterator[tuple[int, Token]]:
    """Tokens of PowerShell, C# and C."""
    comment = r"(?m)(?<![\S'])#.*$" if path.suffix == ".ps1" else r"(?m)//.*$|^#.*$|/\*.*?\*/"
    text = re.sub(comment, "", text)
    if path.suffix == ".cs":
        for made in IMPORT.finditer(text):
            entry = re.search(r'EntryPoint = "(\w+)"', made[1])
            yield _line(text, made.start(2)), entry[1] if entry else made[2]
    for line, content in enumerate(text.splitlines(), 1):
        yield from ((line, token) for token in _texts(content))
        for number in NUMBER.findall(re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|S-1-[\d-]+", "", content)):
            if _token(number) not in range(SMALL):
                yield line, _token(number)
        if path.suffix == ".ps1" and path.parent.name == "scripts":
            yield from ((line, each) for each in COMMAND.findall(content) if "Psrv" not in each)
            if "PSSession" in content or "Invoke-Command" in content:
                yield from ((line, each) for each in PARAMETER.findall(content))
        if any(word in path.name for word in DIRECTORY):
            yield from ((line, each) for each in re.findall(r"['\"]([\w-]+)['\"]", content) if ATTRIBUTE.match(each))


def _in_python(path: Path, text: str) -> Iterator[tuple[int, Token]]:
    tree = ast.parse(text)
    words = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in words:
            yield from ((node.lineno, token) for token in _strings(path, node.value))
        elif isinstance(node, ast.Constant) and type(node.value) is int and node.value >= SMALL:
            yield node.lineno, node.value
        elif isinstance(node, ast.Dict):
            yield from ((node.lineno, token) for token in _keys(path, node))
    if path.name in ("calls.py", "directory_codes.py"):
        yield from _constants(tree)


def _strings(path: Path, value: str) -> Iterator[Token]:
    yield from _texts(f"'{value}'")
    yield from re.findall(r"\A-[A-Z][A-Za-z]+\Z", value) if path.parent.name == "scripts" else ()
    if path.parent.name == "scripts" and "Add-Type" in value:
        yield "Add-Type"
    if any(word in path.name for word in DIRECTORY) and ATTRIBUTE.match(value):
        yield value
    if path.name == "directory_codes.py" and re.fullmatch(r"[0-9a-f]{3}", value):
        yield f"data {value}"
    if path.name == "directory_codes.py" and re.fullmatch(r"[0-9A-F]{8}", value):
        yield int(value, 16)


def _keys(path: Path, node: ast.Dict) -> Iterator[Token]:
    """Small numbers that are codes because a table of codes has them as keys."""
    for key in node.keys:
        if isinstance(key, ast.Constant) and type(key.value) is int and 0 < key.value < SMALL:
            if path.stem == "kerberos":
                yield f"Kerberos {key.value}"
            elif path.stem in TABLES:
                yield key.value


def _constants(tree: ast.Module) -> Iterator[tuple[int, Token]]:
    """Windows' small constants by the names that the lab gives them, and the calls that it answers."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names = [name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            values = [each for each in ast.walk(node.value) if isinstance(each, ast.Constant)]
            for name, value in zip(names, values, strict=False):
                if type(value.value) is int and value.value < SMALL and len(names) == len(values):
                    yield node.lineno, name
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Call":
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield node.lineno, name.value


def _texts(line: str) -> Iterator[Token]:
    for pattern, before in TEXTS:
        for found in re.findall(pattern, line):
            text = re.sub(r"\\{2}", r"\\", found)
            yield _token(before + text)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


# the rules


def broken(table: Table, used: list[Use]) -> list[str]:
    """What is not as it must be, in words; empty when all is right."""
    covered = {token: fact.line for fact in table.facts for token in fact.used}
    known = {use.token for use in used}
    told = [
        f"{show(use.token)} is used in {use.file}:{use.line}, and no row of docs/windows-facts.md names it"
        for use in _first_of_each(used)
        if use.token not in covered and use.token not in table.own
    ]
    told += [
        f"docs/windows-facts.md:{fact.line} names {show(token)}, which nothing uses"
        for fact in table.facts
        for token in sorted(fact.used - known, key=str)
    ]
    for number, line in table.own.items():
        ours = f"docs/windows-facts.md:{line} calls {show(number)} our own, and"
        told += [f"{ours} nothing uses it"] if number not in known else []
        told += [f"{ours} a row says that it is Windows'"] if number in covered else []
    counts = count(table)
    if counts["facts"] < LEAST_FACTS:
        told.append(f"there are {counts['facts']} facts; at least {LEAST_FACTS} are wanted")
    if counts["lab_only"] > MOST_LAB_ONLY:
        told.append(f"{counts['lab_only']} facts stand on the lab only; at most {MOST_LAB_ONLY} may")
    return told


def _first_of_each(used: list[Use]) -> list[Use]:
    return list({use.token: use for use in reversed(used)}.values())[::-1]


def count(table: Table) -> dict[str, int]:
    kinds = Counter(fact.kind for fact in table.facts)
    return {"facts": len(table.facts)} | {kind: kinds[kind] for kind in ("run", "recorded", "documented", "lab_only")}


def main() -> int:
    try:
        table = read(TABLE.read_text())
    except BrokenTable as error:
        print(f"docs/windows-facts.md, {error}")
        return 1
    told = broken(table, uses())
    for each in told:
        print(each)
    print(json.dumps(count(table), separators=(",", ":")))
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
