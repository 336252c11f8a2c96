"""What pages load is there, is ours, and comes from nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pwserver import assets


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assets") / "build"
    assert len(assets.build(folder)) == 4
    return folder


def test_a_second_build_writes_nothing(built: Path) -> None:
    assert assets.build(built) == []


def test_every_icon_a_template_names_is_in_the_sprite(built: Path) -> None:
    there = set(re.findall(r'<symbol[^>]*\bid="([^"]+)"', (built / "icons.svg").read_text()))
    named: set[str] = set()
    for template in (assets.PROJECT / "templates").rglob("*.html"):
        named.update(re.findall(r"""\bicon\(["']([a-z0-9-]+)["']""", template.read_text()))
    assert named, "the templates were really read"
    assert named - there == set()


def test_the_sprite_holds_a_small_part_of_all_icons(built: Path) -> None:
    assert (built / "icons.svg").stat().st_size < 100_000
    assert assets.sprite('<svg><symbol id="a"></symbol><symbol id="b"></symbol></svg>', {"b"}).count("<symbol") == 1


def test_nothing_is_loaded_from_elsewhere_and_no_map_is_asked_for(built: Path) -> None:
    for path in built.iterdir():
        text = path.read_text()
        assert "sourceMappingURL" not in text, path.name
        assert not re.search(r"""(?:url\(|src=|href=)["']?https?:""", text), path.name


def test_bootstrap_finds_popper_before_it(built: Path) -> None:
    text = (built / "bootstrap.bundle.min.js").read_text()
    assert text.index("Popper") < text.index("Bootstrap v5")
