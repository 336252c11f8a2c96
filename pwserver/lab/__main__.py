"""The lab as a process: ``python -m pwserver.lab --folder PATH [--base-port N]``.

It loads or makes the truth, opens the control socket and the machines' ports, prints one JSON line with ``ready`` and
all addresses, and ends within two seconds of SIGTERM or SIGINT. Ports are chosen once and remembered in ``ports.json``.
One folder has one lab: a second process says so and ends.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib
import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pwserver.core.errors import PwserverError
from pwserver.lab import truth
from pwserver.lab.control import ControlServer
from pwserver.lab.model.network import Network

PORTS = "ports.json"
LOCK_S = 10.0
"""How long a start waits for a lab that is just ending."""
END_S = 1.5
"""How long the listeners may take to end; after that the process ends anyway."""
FAST_PACE = 0.05
"""Windows' own time-outs beside the product's fast timing."""
STUCK_S = 3.0
"""How long all of the end may take, a call under way included. What was answered is on disk already."""


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    folder = options.folder.resolve()
    lock = _lock(folder)
    if lock is None:
        print(json.dumps({"ready": False, "error": f"A lab runs already in {folder}."}), flush=True)  # noqa: T201
        return 1
    try:
        network = truth.open_network(folder, seed=options.seed)
    except PwserverError as error:
        print(json.dumps({"ready": False, "error": error.user_message}), flush=True)  # noqa: T201 - the answer to who started us
        return 1
    if os.environ.get("PWSERVER_TIMING") == "fast":
        network.pace = FAST_PACE
    remembered = _read_ports(folder)
    ports = remembered | _given_ports(options.base_port, network)
    servers = _serve(network, folder, ports)
    _write_ports(folder, ports)
    addresses = {name: address for server in servers for name, address in server.addresses.items()}
    control = ControlServer(network, folder, extra={"addresses": lambda: addresses})
    ready = {"ready": True, "pid": os.getpid(), "control": str(control.path), "addresses": addresses}
    print(json.dumps(ready), flush=True)  # noqa: T201
    ended.wait()
    _end(network, control, servers)
    os.close(lock)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pwserver.lab", description="The practice lab, a simulated network")
    parser.add_argument("--folder", type=Path, required=True, help="where the lab keeps its truth")
    parser.add_argument("--base-port", type=int, default=0, help="the first port; without it free ones are chosen once")
    parser.add_argument("--seed", default=truth.DEFAULT_SEED, help="what the first passwords are made from")
    return parser.parse_args(arguments)


def _lock(folder: Path) -> int | None:
    """The folder's lock, held as long as this process lives; None when another lab has it and keeps it.

    A lab whose starter was killed is told to end and needs a moment for it, while the next one starts already.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / "lab.lock", os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(handle)
                return None
            time.sleep(0.05)


def _serve(network: Network, folder: Path, ports: dict[str, int]) -> list[Any]:
    """Opens what speaks for the machines (WinRM) and for the devices (SSH)."""
    found = []
    for name in ("pwserver.lab.wire", "pwserver.lab.switch"):
        if importlib.util.find_spec(name) is not None:
            found.append(importlib.import_module(name).serve(network, folder=folder, ports=ports))
    return found


def _given_ports(base: int, network: Network) -> dict[str, int]:
    names = [*network.state.machines, *network.state.devices]
    return {name: base + at for at, name in enumerate(names)} if base else {}


def _read_ports(folder: Path) -> dict[str, int]:
    try:
        ports = json.loads((folder / PORTS).read_text())
        return {str(name): int(port) for name, port in ports.items()}
    except (OSError, ValueError, AttributeError):
        return {}  # chosen anew; nothing is lost but the numbers


def _write_ports(folder: Path, ports: dict[str, int]) -> None:
    beside = folder / f".{PORTS}.new"
    beside.write_text(json.dumps(ports, indent=1, sort_keys=True))
    os.replace(beside, folder / PORTS)


def _end(network: Network, control: ControlServer, servers: Iterable[Any]) -> None:
    """Stops all of it. A listener that hangs does not keep the process: the truth is written first."""
    watchdog = threading.Timer(STUCK_S, os._exit, [0])
    watchdog.daemon = True
    watchdog.start()
    network.stop()

    def stop_all() -> None:
        for server in servers:
            server.stop()
        control.stop()

    stopper = threading.Thread(target=stop_all, daemon=True)
    stopper.start()
    stopper.join(END_S)
    if stopper.is_alive():
        sys.stderr.write("lab: a listener did not end in time\n")
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
