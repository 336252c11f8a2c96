"""The commands of the documents are typed, in the order of each page, on a demo of its own.

A block marked ``sh`` is run; a plain one is none for a shell (an overview). A number behind ``#`` is the exit
status that the document promises, where it is not 0.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_docs import DOCS, PROJECT, blocks
from tests.jobs.conftest import spawn  # noqa: F401  # a fixture
from tests.jobs.test_supervisor import Running
from tests.story.instance import wait

PROMISED = re.compile(r"\s# (\d+)\b")
WALL = 600
"""Seconds for the lines of one page: against a hang alone."""
TYPED_PASSWORD = "seven quiet herons on a wall"
TYPED = re.compile(r"^(\.venv/bin/|printf |export )", re.M)


def script(text: str) -> str:
    """Every line of the ``sh`` blocks of a page, each with the exit status that it must end with."""
    lines = "".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    typed = [line for line in lines if line.strip() and not line.startswith("#")]
    return "\n".join(map(checked, typed))


def checked(line: str) -> str:
    promised = PROMISED.search(line)
    wanted = promised[1] if promised else "0"
    told = f"a line of the page ended with $code, not {wanted}: {line}".replace('"', "'").replace("$L", "L")
    return f'{line}\ncode=$?; [ $code = {wanted} ] || {{ echo "{told}"; exit 99; }}'


PAGES = [name for name, path in DOCS.items() if blocks(path.read_text(), "sh")]


@pytest.fixture
def demo(tmp_path: Path, spawn: Callable[..., subprocess.Popen[str]]) -> Iterator[tuple[Path, Running]]:  # noqa: F811
    """A folder that looks like a checkout, with a running demo in ``instance-demo``."""
    for each in PROJECT.iterdir():
        if not each.name.startswith(("instance", ".git")):
            (tmp_path / each.name).symlink_to(each)
    running = Running(spawn, tmp_path / "instance-demo")
    process = running.start("--demo")
    wait(running.is_up, "the demo is up", 90)
    (tmp_path / "instance").symlink_to("instance-demo")
    wait(running.all_in_sync, "all In Sync", 60)
    yield tmp_path, running
    process.terminate()
    process.wait(40)


@pytest.mark.sweep
@pytest.mark.enable_socket
@pytest.mark.timeout(WALL)
def test_every_page_can_be_typed_as_it_stands(demo: tuple[Path, Running]) -> None:
    folder, running = demo
    for name in PAGES:
        done = subprocess.run(
            ["bash", "-u", "-c", script(DOCS[name].read_text())], cwd=folder, env=_as_a_person(running),
            capture_output=True, text=True, timeout=WALL, input=f"{TYPED_PASSWORD}\n",
        )  # fmt: skip
        assert done.returncode == 0, f"{name}: {done.stdout[-800:]} {done.stderr[-800:]}"


def _as_a_person(running: Running) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"} | running.env


def test_what_can_be_typed_is_marked_so_that_it_is_run() -> None:
    for name, path in DOCS.items():
        for plain in blocks(path.read_text(), ""):
            assert not TYPED.search(plain), f"{name} has commands in a block that is not marked sh: {plain[:80]}"


def test_a_line_that_does_not_do_what_the_page_says_is_found() -> None:
    page = "```sh\ntrue\nfalse   # 1: as promised\ntrue # 1: not as promised\n```\n"
    done = subprocess.run(["bash", "-c", script(page)], capture_output=True, text=True, timeout=10)
    assert (done.returncode, "true # 1" in done.stdout) == (99, True)
