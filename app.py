"""The WSGI entry ``app:app``, and ``python3 app.py [--demo]`` runs everything on the embedded default.

Started by hand it first makes ``.venv`` from the hashed requirements, where that is missing or out of date, and goes on
in it. Until then it needs nothing but Python.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent
VENV = PROJECT / ".venv"
MARK = VENV / "installed.json"
RUN = ("requirements.txt", "requirements-assets.txt")
DEVELOP = "requirements-dev.txt"
KERBEROS = "requirements-kerberos.txt"
OF_PAGES = {"run", "routes", "shell"}
"""Commands of Flask itself that are about the pages. All others start in half the time without them."""


def __getattr__(name: str) -> Any:
    """``app`` is built when it is first asked for: importing this module does nothing."""
    if name != "app":
        raise AttributeError(name)
    from pwserver import create_app
    from pwserver.core.errors import PwserverError

    typed = "flask" in Path(sys.argv[0]).parts[-2:]  # the command, or Python's -m flask
    try:
        globals()["app"] = create_app(pages=not typed or not OF_PAGES.isdisjoint(sys.argv))
    except PwserverError as error:
        if not typed:
            raise
        from pwserver.cli.output import CannotStart

        raise CannotStart(error.user_message) from None  # words on the command line, no trace
    return globals()["app"]


def prepare_venv(files: tuple[str, ...]) -> Path:
    """Makes ``.venv`` hold what ``files`` say and returns its Python. Ends the program with words when it cannot."""
    if sys.version_info < (3, 11):  # noqa: UP036  # whoever starts this may have an older one
        sys.exit("Password Server needs Python 3.11 or later; this is " + sys.version.split()[0] + ".")
    interpreter = VENV / "bin" / "python"
    with (PROJECT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two starts at once: the second finds it done
        known = _installed()
        wanted = {name: hashlib.sha256((PROJECT / name).read_bytes()).hexdigest() for name in files}
        missing = [name for name in files if known.get(name) != wanted[name]]
        if missing or not interpreter.exists():
            if not interpreter.exists():
                _make_venv()
            for name in missing or files:
                print(f"Installing {name} into .venv ...", file=sys.stderr, flush=True)  # noqa: T201
                _run(
                    *(str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                    *("--require-hashes", "--no-deps", "-r", str(PROJECT / name)),
                )
            MARK.write_text(json.dumps(known | wanted, indent=1) + "\n")
    return interpreter


def builds_kerberos() -> bool:
    """Whether the one package that has to be compiled can be: a compiler, Python's headers, Kerberos' own."""
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return headers.exists() and all(shutil.which(tool) for tool in ("gcc", "krb5-config"))


def _installed() -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(MARK.read_text())
    except (OSError, ValueError):
        return {}
    return found


def _make_venv() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(
            "Python here cannot make virtual environments. On Debian or Ubuntu install that part and start again:\n"
            f"  apt-get install python{version}-venv"
        )
    print("Making .venv ...", file=sys.stderr, flush=True)  # noqa: T201
    _run(sys.executable, "-m", "venv", str(VENV))


def _run(*command: str) -> None:
    if subprocess.call(command) != 0:  # noqa: S603  # our own interpreter
        sys.exit("That did not work; the lines above say why. Nothing was started.")


def main(arguments: list[str]) -> None:
    """``--prepare`` and ``--prepare-develop`` only make the environment; anything else goes to the supervisor."""
    if arguments in (["--prepare"], ["--prepare-develop"]):
        develop = (DEVELOP, KERBEROS) if builds_kerberos() else (DEVELOP,)
        prepare_venv((*RUN, *develop) if arguments == ["--prepare-develop"] else RUN)
        return
    interpreter = prepare_venv(RUN)
    os.chdir(PROJECT)
    os.execv(interpreter, [str(interpreter), "-m", "pwserver.supervisor", *arguments])  # noqa: S606  # our own interpreter


if __name__ == "__main__":
    main(sys.argv[1:])
