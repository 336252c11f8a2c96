"""The doors of the house as functions over source text: each returns what it found, so that a planted breach shows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
Sources = Mapping[str, str]

KEYRING_DOORS = {
    "pwserver/services/values.py": "reveal",
    "pwserver/services/sync/reach.py": "execute",
    "pwserver/services/keys.py": "the canary",
}


def sources(*folders: str) -> dict[str, str]:
    """Path → text of every Python file under the folders (of ``pwserver`` and ``jobs`` by default)."""
    found = {}
    for folder in folders or ("pwserver", "jobs"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            found[str(path.relative_to(PROJECT))] = path.read_text()
    return found


def templates() -> dict[str, str]:
    return {
        str(path.relative_to(PROJECT)): path.read_text() for path in sorted((PROJECT / "templates").rglob("*.html"))
    }


@cache
def parse(text: str) -> ast.Module:
    return ast.parse(text)


def trees(files: Sources) -> Iterator[tuple[str, ast.Module]]:
    for path, text in files.items():
        yield path, parse(text)


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


def who_opens_sealed(files: Sources) -> set[str]:
    """Files that make a ``Sealed`` out of stored bytes, or call ``.open(…)`` on a keyring: the doors of the vault."""
    found = set()
    for path, tree in trees(files):
        if path == "pwserver/core/secrets.py":
            continue
        for call in calls(tree):
            name = ast.unparse(call.func)
            keyring_open = (
                name.endswith(".open") and "keyring" in name.lower() and len(call.args) + len(call.keywords) == 2
            )
            ring_open = name.endswith(".open") and len(call.args) == 2 and "bound_to" in ast.unparse(call.args[1])
            if name == "Sealed" or name.endswith(".Sealed") or keyring_open or ring_open:
                found.add(path)
    return found


def who_imports(files: Sources, module: str) -> set[str]:
    return {
        path
        for path, tree in trees(files)
        if any(name == module or name.startswith(f"{module}.") for name in imports(tree))
    }


def who_commits(files: Sources) -> set[str]:
    return {
        path
        for path, tree in trees(files)
        if any(isinstance(call.func, ast.Attribute) and call.func.attr == "commit" for call in calls(tree))
    }


def who_prints(files: Sources) -> set[str]:
    return {path for path, tree in trees(files) if any(ast.unparse(call.func) == "print" for call in calls(tree))}


LOGGED = ("debug", "info", "warning", "error", "exception", "critical", "log")


def what_logs_a_plaintext(files: Sources) -> set[str]:
    """A log line that opens a secret, or a secret's text put into an f-string, an exception or a format."""
    found = set()
    for path, tree in trees(files):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOGGED:
                suspects: list[ast.AST] = [*node.args, *(each.value for each in node.keywords)]
            elif isinstance(node, ast.JoinedStr | ast.Raise):
                suspects = [node]
            else:
                continue
            for suspect in suspects:
                for call in calls(suspect):
                    name = ast.unparse(call.func)
                    if name.endswith(".open") and not call.args and not call.keywords:
                        found.add(f"{path}:{node.lineno}")
    return found


def who_imports_jobs(files: Sources) -> set[str]:
    return {path for path in who_imports(files, "jobs") if not path.startswith("jobs/")}


INLINE = re.compile(
    r"<script(?![^>]*\bsrc=)[^>]*>|<style\b|\sstyle\s*=\s*[\"']|\son(?!ly\b)[a-z]+\s*=\s*[\"']|javascript:", re.I
)


def what_is_inline(files: Sources) -> set[str]:
    """Inline script, style or handlers: our policy would refuse them, and an injected one could run."""
    found = set()
    for path, text in files.items():
        plain = re.sub(r"\{#.*?#\}", "", text, flags=re.S)
        if path.startswith("templates/email"):
            continue
        found.update(f"{path}: {match.group(0).strip()}" for match in INLINE.finditer(plain))
    return found


def who_runs_a_shell(files: Sources) -> set[str]:
    return {
        path
        for path, tree in trees(files)
        if any(
            keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
            for call in calls(tree)
            for keyword in call.keywords
        )
    }


def who_pickles(files: Sources) -> set[str]:
    return {path for module in ("pickle", "marshal", "shelve", "dill") for path in who_imports(files, module)}
