"""Put every old fault back, one at a time, and see its test fail. Prints one JSON object as its last line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.depth import NAME
from tests.mutants import PROJECT, SourceMutant, every

TEST_FAILED = 1
"""pytest's exit status. Anything else (no such test, a collection error) catches nothing."""
SECONDS = 300
TOGETHER_SECONDS = 1800
SIDE_BY_SIDE = os.cpu_count() or 1


def copy_tree(folder: Path) -> Path:
    """The tracked and new files of the project, with its environment beside them."""
    tree = folder / "tree"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, check=True, capture_output=True,
    ).stdout.decode()  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source = PROJECT / name
        if source.is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, tree / name)
    (tree / ".venv").symlink_to(PROJECT / ".venv")
    built = PROJECT / "static" / "build"
    if built.is_dir():
        shutil.copytree(built, tree / "static" / "build")
    return tree


def pytest_in(tree: Path, tests: Iterable[str], seconds: float = SECONDS) -> int:
    """Exit status of the tests in the copy. Databases: SQLite alone, quick depth."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        command, cwd=tree, env=os.environ | {NAME: "quick"}, capture_output=True, timeout=seconds, check=False
    )
    return done.returncode


def is_caught(tree: Path, mutant: SourceMutant) -> bool:
    """Whether the mutant's test fails with the fault put back. The copy is left as it was."""
    path = tree / mutant.file
    kept = path.read_text()
    mutant.put_back(tree)
    try:
        return pytest_in(tree, [mutant.test]) == TEST_FAILED
    finally:
        path.write_text(kept)


def not_passing(tree: Path, tests: list[str]) -> list[str]:
    """Those that fail without any fault: together they pass in one go, and are asked one by one only if they do not."""
    if pytest_in(tree, tests, TOGETHER_SECONDS) == 0:
        return []
    return [test for test in tests if pytest_in(tree, [test]) != 0]


def put_back(folder: Path, chosen: list[SourceMutant]) -> list[str]:
    """Each in a copy of the tree for itself, as many at once as there are processors. Returns those not caught."""
    trees: SimpleQueue[Path] = SimpleQueue()
    for number in range(SIDE_BY_SIDE):
        trees.put(copy_tree(folder / str(number)))

    def catch(mutant: SourceMutant) -> bool:
        tree = trees.get()
        try:
            caught = is_caught(tree, mutant)
        finally:
            trees.put(tree)
        print(f"{'caught' if caught else 'MISSED'} {mutant.name}", flush=True)
        return caught

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return [mutant.name for mutant, caught in zip(chosen, pool.map(catch, chosen), strict=True) if not caught]


def main(names: list[str]) -> int:
    chosen = [each for each in every() if not names or each.name in names]
    with tempfile.TemporaryDirectory(prefix="pwserver-mutants-") as folder:
        tests = list(dict.fromkeys(each.test for each in chosen))
        as_is = copy_tree(Path(folder, "as-is"))
        wrong = [f"{test} does not pass without a fault" for test in not_passing(as_is, tests)]
        missed = put_back(Path(folder), chosen)
    for word in wrong + missed:
        print(f"not caught: {word}", file=sys.stderr)
    print(json.dumps({"mutants": len(chosen), "caught": len(chosen) - len(missed)}))
    return 1 if wrong or missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
