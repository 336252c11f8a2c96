"""The lab's wire: WS-Management over HTTPS as Windows speaks it, one listener per machine, on loopback.

A machine that is off closes every connection at once. Everything else a machine may do wrong is in its faults
(:mod:`pwserver.lab.model.faults`), which are looked at anew with every request.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pwserver.lab.certificates import Certificates
from pwserver.lab.listen import listen
from pwserver.lab.model.network import Network
from pwserver.lab.wire_http import Connection, Seen
from pwserver.lab.wire_shells import Mind, ShellService, think

log = logging.getLogger(__name__)

SEEN = 2000
"""Requests remembered."""


class Wire:
    """All listeners. ``interrupt(machine, action, moment)`` may cut a line "before" or "after" an action: rehearsals
    and tests use it. A "challenge" and a "login" (before only) are actions, too."""

    def __init__(
        self, network: Network, folder: Path, host: str, ports: dict[str, int], mind: Mind, names: Iterable[str]
    ) -> None:
        self.network, self.seen = network, deque[Seen](maxlen=SEEN)
        self.takes_unbound = False
        """Whether a login without channel binding comes in: CbtHardeningLevel Relaxed, Windows' default. False is
        stricter than most machines, so that a client of ours that sends none is found out."""
        self.interrupt: Callable[[str, str, str], bool] | None = None
        self.certificates = Certificates(folder / "wire")
        self.addresses: dict[str, dict[str, Any]] = {}
        self.shells = {name: ShellService(network, name, mind) for name in network.state.machines}
        self._selector = selectors.DefaultSelector()
        self._wake, waker = socket.socketpair()
        self._selector.register(waker, selectors.EVENT_READ, None)
        self._waker = waker
        self._lock, self._open, self._closed = threading.Lock(), set[Connection](), False
        for name in names:
            listener = listen(host, ports.get(name, 0))
            ports[name] = listener.getsockname()[1]
            self.addresses[name] = {
                "host": host,
                "port": ports[name],
                "fingerprint": self.certificates.digest(name).hex(),
            }
            self._selector.register(listener, selectors.EVENT_READ, name)
        self._thread = threading.Thread(target=self._accept, name="lab wire", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Closes every listener and every connection. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            connections = list(self._open)
        self._wake.send(b"\0")
        self._thread.join(5)
        for connection in connections:
            connection.hang_up()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # only sockets are registered
        self._selector.close()
        self._wake.close()

    close = stop

    def cut(self, machine: str, action: str, moment: str) -> bool:
        return self.interrupt is not None and self.interrupt(machine, action, moment)

    def _accept(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                with contextlib.suppress(OSError):
                    plain, _ = key.fileobj.accept()  # type: ignore[union-attr]
                    self._begin(key.data, plain)

    def _begin(self, machine: str, plain: socket.socket) -> None:
        with self._lock:
            if self._closed or self.network.fault(machine).off:
                plain.close()
                return
            connection = Connection(self, machine, plain)
            self._open.add(connection)
        threading.Thread(target=self._serve, args=(connection,), name=f"lab {machine}", daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        try:
            connection.serve()
        except OSError:
            pass  # the other side went away, or we are being stopped
        except Exception as error:  # a bug of the lab: said, and the line is closed
            log.error("lab bug: %s on the wire of %s", type(error).__name__, connection.machine)
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def serve(
    network: Network,
    *,
    folder: Path,
    host: str = "127.0.0.1",
    ports: dict[str, int] | None = None,
    mind: Mind = think,
    names: Iterable[str] | None = None,
) -> Wire:
    """Opens the listeners and returns at once. ``ports``: machine → port; those chosen here are put in. ``names``: the
    machines that listen, all by default."""
    chosen = network.state.machines if names is None else names
    return Wire(network, folder, host, ports if ports is not None else {}, mind, chosen)
