"""Proof that the tests marked ``both`` are enough: on PostgreSQL they run every line that only PostgreSQL runs.

Such lines are found in the source: the side of each dialect branch that PostgreSQL takes, and every statement of
``services/locking``. Each worker notes which of them ran in a test on PostgreSQL; in a whole run of the suite one that
nothing ran is a failure, named by file and line.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PRODUCT = PROJECT / "pwserver"
LOCKING = PRODUCT / "services" / "locking.py"
WHERE = "lines run on PostgreSQL"

Lines = dict[str, list[int]]
"""Path below the project → line numbers."""


def postgres_side(test: ast.expr) -> bool | None:
    """Whether a condition is true on PostgreSQL; None: it is not about the dialect."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = postgres_side(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id == "is_postgres":
        return True
    if isinstance(test, ast.Compare) and ast.unparse(test.left).endswith("dialect.name"):
        named = test.comparators[0]
        assert isinstance(named, ast.Constant)
        return (named.value == "postgresql") == isinstance(test.ops[0], ast.Eq)
    return None


def statements(body: list[ast.stmt]) -> Iterator[int]:
    """First lines of all statements in ``body``, but docstrings."""
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        yield node.lineno
        for inner in ("body", "orelse", "finalbody"):
            yield from statements(getattr(node, inner, []))


def dialect_lines(tree: ast.AST) -> set[int]:
    """Lines that only PostgreSQL runs: the branch it takes, or what follows a branch in which SQLite returns."""
    found: set[int] = set()
    for parent in ast.walk(tree):
        for block in (getattr(parent, name, None) for name in ("body", "orelse")):
            if not isinstance(block, list):
                continue
            for at, node in enumerate(block):
                side = postgres_side(node.test) if isinstance(node, ast.If) else None
                if side is None:
                    continue
                assert isinstance(node, ast.If)
                found |= set(statements(node.body if side else node.orelse or block[at + 1 :]))
    return found


def locking_lines(tree: ast.AST) -> set[int]:
    """Every statement of the module's functions but those that SQLite alone runs."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    lines = {line for function in functions for line in statements(function.body)}
    ours: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and postgres_side(node.test) is False:
            ours |= set(statements(node.body))
    return lines - ours


@cache
def wanted() -> Lines:
    """What has to run on PostgreSQL."""
    found: Lines = {}
    for path in sorted(PRODUCT.rglob("*.py")):
        if "migrations" in path.parts:
            continue  # loaded by Alembic itself; each migration runs on both databases in a test of its own
        text = path.read_text()
        lines = dialect_lines(ast.parse(text)) if "dialect" in text or "is_postgres" in text else set()
        if path == LOCKING:
            lines |= locking_lines(ast.parse(text))
        if lines:
            found[str(path.relative_to(PROJECT))] = sorted(lines)
    return found


class Noted:
    """The lines of :func:`wanted` that ran while a test used PostgreSQL, in this process."""

    def __init__(self) -> None:
        self.ran: dict[str, set[int]] = {}
        self._on_postgres = False

    def line(self, file: str, number: int) -> None:
        """Called by the line itself (:class:`NotingLoader`)."""
        if self._on_postgres:
            self.ran.setdefault(file, set()).add(number)

    @contextmanager
    def on_postgres(self) -> Iterator[None]:
        self._on_postgres = True
        try:
            yield
        finally:
            self._on_postgres = False

    def told(self) -> Lines:
        return {name: sorted(lines) for name, lines in self.ran.items()}


NOTED = Noted()


class _Noting(ast.NodeTransformer):
    """Puts a call before each of these lines, which says that it runs. A tracer would slow down every line."""

    def __init__(self, file: str, lines: Iterable[int]) -> None:
        self.file, self.lines = file, set(lines)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, [each for statement in block for each in self._noted(statement)])
        return node

    def _noted(self, statement: ast.stmt) -> list[ast.stmt]:
        if statement.lineno not in self.lines:
            return [statement]
        call = ast.parse(f"_noted_line({self.file!r}, {statement.lineno})").body[0]
        for node in ast.walk(call):
            ast.copy_location(node, statement)
        return [call, statement]


class NotingLoader(SourceFileLoader):
    """Loads a module of the product whose dialect lines say that they run."""

    def get_code(self, fullname: str) -> CodeType:
        path = Path(self.get_filename(fullname))
        name = str(path.relative_to(PROJECT))
        tree = _Noting(name, wanted()[name]).visit(ast.parse(path.read_bytes()))
        return compile(tree, str(path), "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["_noted_line"] = NOTED.line
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def __init__(self) -> None:
        self.files = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in wanted()}

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname not in self.files:
            return None
        file = str(PROJECT / self.files[fullname])
        return spec_from_file_location(fullname, file, loader=NotingLoader(fullname, file))


def install() -> None:
    """Before the product is imported."""
    sys.meta_path.insert(0, _Finder())


def missed(ran: dict[str, set[int]]) -> list[str]:
    """File and line of what nothing ran."""
    return [f"{name}:{line}" for name, lines in wanted().items() for line in lines if line not in ran.get(name, set())]


class Verdict:
    """Collects what the workers noted, and fails a whole run in which a line was not run."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.left: list[str] = []

    def pytest_testnodedown(self, node: object) -> None:
        told: Lines = getattr(node, "workeroutput", {}).get(WHERE, {})
        for name, lines in told.items():
            NOTED.ran.setdefault(name, set()).update(lines)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(self.config, "workeroutput", None)
        if output is not None:
            output[WHERE] = NOTED.told()
        elif NOTED.ran and _is_whole(self.config):
            self.left = missed(NOTED.ran)
            if self.left and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for place in self.left:
            terminalreporter.write_line(f"{place}: only PostgreSQL runs this line, and no test there ran it", red=True)


def _is_whole(config: pytest.Config) -> bool:
    return not config.option.keyword and not config.option.markexpr and config.args == config.getini("testpaths")


def register(config: pytest.Config) -> None:
    config.pluginmanager.register(Verdict(config), "dialects")
