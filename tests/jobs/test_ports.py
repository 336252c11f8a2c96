"""Who has a port, by name and process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pwserver import ports

pytestmark = pytest.mark.enable_socket
ME = Path("/proc/self/comm").read_text().strip()


@pytest.mark.parametrize(
    ("theirs", "ours"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("::1", "::1")]
)
def test_the_program_that_listens_is_named(theirs: str, ours: str) -> None:
    family = socket.AF_INET6 if ":" in theirs else socket.AF_INET
    with socket.create_server((theirs, 0), family=family) as other:
        port = other.getsockname()[1]
        assert not ports.is_free(ours, port)
        found = ports.holder(ours, port)
    assert found is not None
    assert (found.pid, found.words) == (os.getpid(), f"{ME} (process {os.getpid()})")
    assert ports.is_free(ours, port)
    assert ports.holder(ours, port) is None


def test_a_program_that_listens_at_another_address_is_not_named() -> None:
    with socket.create_server(("127.0.0.2", 0)) as other:
        port = other.getsockname()[1]
        assert ports.is_free("127.0.0.1", port)
        assert ports.holder("127.0.0.1", port) is None


def test_a_listener_comes_before_a_connection_with_the_same_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, socket.create_connection(other.getsockname()) as line:
        code = "import sys, time; print('up', flush=True); sys.stdin.read()"
        client = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[line.fileno()]
        )
        with client:
            assert client.stdout is not None
            client.stdout.readline()
            found = ports.holder("127.0.0.1", other.getsockname()[1])
    assert found is not None
    assert found.pid == os.getpid()


def test_of_another_users_process_the_user_is_named() -> None:
    if os.geteuid() != 0:
        pytest.skip("being another user needs root")
    reader, writer = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ports.holder("127.0.0.1", port)  # loads what the other user may not read
        pid = os.fork()
        if pid == 0:
            try:
                other.close()
                os.setuid(65534)
                found = ports.holder("127.0.0.1", port)
                os.write(writer, (found.words if found else "nobody").encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(pid, 0)
    assert os.read(reader, 100) == b"a program of user root"
    os.close(reader)


def test_an_address_that_is_not_ours_is_no_taken_port() -> None:
    with pytest.raises(OSError, match="assign"):
        ports.is_free("192.0.2.1", 8080)
