"""Builds ``static/build`` from what is installed: Bootstrap, htmx, the icons in use. No Node, no CDN, nothing vendored.

``python -m pwserver.assets``; every start does it too and writes only what differs.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
BUILD = PROJECT / "static" / "build"

_SYMBOL = re.compile(r'<symbol\b[^>]*\bid="(?P<id>[^"]+)"[^>]*>.*?</symbol>', re.DOTALL)
_SOURCE_MAP = re.compile(r"\n?(//|/\*)# sourceMappingURL=\S+( \*/)?\s*$")
_DATA_URL = re.compile(r'url\("data:[^"]*"\)')
_JINJA = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_QUOTED = re.compile(r"""["']([a-z0-9-]+)["']""")


class AssetError(RuntimeError):
    """A package that brings an asset is missing or brings it under another name."""


def build(folder: Path = BUILD) -> list[Path]:
    """Writes the assets that differ and returns their paths. Raises :class:`AssetError`."""
    popper, bootstrap = _text("Bootstrap-Flask", "umd/popper.min.js"), _text("Bootstrap-Flask", "js/bootstrap.min.js")
    contents = {
        # Its ticks and carets are data: images, which our policy forbids; our own sheet draws them.
        "bootstrap.min.css": _DATA_URL.sub("none", _text("Bootstrap-Flask", "css/bootstrap.min.css")),
        "bootstrap.bundle.min.js": f"{popper}\n;{bootstrap}",
        "htmx.min.js": _text("django-htmx", "htmx-2.min.js"),
        "icons.svg": sprite(_text("Bootstrap-Flask", "icons/bootstrap-icons.svg"), names_in_use()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return [folder / name for name, text in contents.items() if _write(folder / name, text)]


def sprite(all_icons: str, wanted: set[str]) -> str:
    """One SVG with a ``<symbol>`` for each wanted name that is an icon, in a stable order."""
    found = {match["id"]: match[0] for match in _SYMBOL.finditer(all_icons)}
    used = sorted(found.keys() & wanted)
    body = "\n".join(found[name] for name in used)
    return f'<svg xmlns="http://www.w3.org/2000/svg">\n{body}\n</svg>\n'


def names_in_use(project: Path = PROJECT) -> set[str]:
    """Every quoted word in a template's expressions, and every string in our code: the icons in use are among them."""
    names: set[str] = set()
    for template in (project / "templates").rglob("*.html"):
        for block in _JINJA.findall(template.read_text()):
            names.update(_QUOTED.findall(block))
    for module in (project / "pwserver").rglob("*.py"):
        names.update(_strings(module))
    return names


def _strings(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _text(package: str, ending: str) -> str:
    """The installed file of ``package`` that ends so; Bootstrap 5 where there are several."""
    files = importlib.metadata.files(package) or []
    paths = [file for file in files if str(file).endswith(f"/{ending}") and "bootstrap4" not in str(file)]
    if len(paths) != 1:
        what = f"{package} brings {len(paths)} files {ending}"
        raise AssetError(f"{what}. Install requirements.txt and requirements-assets.txt.")
    return _SOURCE_MAP.sub("\n", Path(str(paths[0].locate())).read_text())


def _write(path: Path, text: str) -> bool:
    if path.exists() and path.read_text() == text:
        return False
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.replace(path)
    return True


if __name__ == "__main__":
    try:
        for written in build():
            sys.stdout.write(f"{written.relative_to(PROJECT)}\n")
    except (AssetError, importlib.metadata.PackageNotFoundError) as error:
        sys.exit(f"assets: {error}")
