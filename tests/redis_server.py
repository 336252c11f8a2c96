"""A Redis or Valkey of one's own, as ``REDIS_URL`` names one: a real server on loopback, with a password."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from pwserver.queueing import connect

PASSWORD = "Redis-needle-7194"


def program_or_skip() -> str:
    """Without one: skipped with a word, but a failure where CI promised one."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no Redis server: apt-get install redis-server")
        pytest.skip("no Redis server (apt-get install redis-server, or valkey-server)")
    return found


@dataclass
class RedisServer:
    """Keeps nothing on disk: whoever starts it again finds it empty. ``folder``: where it runs."""

    folder: Path
    port: int
    program: str = field(default_factory=program_or_skip)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Its settings come on standard input: a command line is for all to read."""
        self.process = subprocess.Popen(
            [self.program, "-"], cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        settings = {
            "bind": "127.0.0.1", "port": self.port, "requirepass": PASSWORD, "save": '""', "appendonly": "no",
            "dir": self.folder,
        }  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{name} {value}\n" for name, value in settings.items()).encode())
        self.process.stdin.close()
        for _ in range(500):
            try:
                with connect(self.url) as line:
                    line.ping()
                return
            except (RedisError, OSError):
                assert self.process.poll() is None, "Redis did not start"
                select.select([], [], [], 0.02)
        raise AssertionError("Redis does not answer")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
