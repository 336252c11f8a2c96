"""The practice lab's page: the lab's own truth, over its socket, for administrators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from pwserver.lab.control import ControlServer
from pwserver.lab.truth import open_network, set_password
from pwserver.services import labclient
from tests.web.conftest import Browser

Of = Callable[[str], Browser]


@pytest.fixture
def lab(app: Flask) -> Iterator[ControlServer]:
    """A real lab's control socket beside the app's instance."""
    folder = Path(app.config["PWSERVER"].instance) / "lab"
    server = ControlServer(open_network(folder), folder)
    yield server
    server.stop()


def test_without_a_lab_the_page_says_how_to_start_one(browser_of: Of) -> None:
    page = browser_of("ada").get("/lab")
    assert page.status_code == 200
    assert "The lab does not run" in page.text
    assert "Practice lab" not in browser_of("ada").get("/").text, "and the menu does not offer it"


@pytest.mark.usefixtures("lab")
def test_the_page_shows_the_truth_says_that_it_is_a_simulation_and_holds_no_password(browser_of: Of) -> None:
    page = browser_of("ada").get("/lab").text
    assert "A simulated network: nothing here touches a real machine." in page
    for name in ("LAB-01", "SRV-02", "DC1", "SW-01", "\\Lab\\Nightly reset"):
        assert name in page
    assert "stores its account’s password" in page
    assert "Practice lab" in browser_of("ada").get("/").text


def test_a_password_changed_in_the_lab_shows_as_the_stale_copies_it_makes(
    app: Flask, lab: ControlServer, browser_of: Of
) -> None:
    set_password(lab._network, "LAB-01", "Administrator", "Changed-outside-1")
    page = browser_of("ada").get("/lab").text
    assert "stores another password" in page
    assert "Changed-outside-1" not in page


@pytest.mark.usefixtures("lab")
def test_faults_are_injected_and_ended(browser_of: Of) -> None:
    browser = browser_of("ada")
    answer = browser.post("/lab/machines/LAB-05/fault", {"fault": "off"}, htmx=True)
    assert "LAB-05: off." in answer.text
    assert "LAB-05 is off. Switch it on" in answer.text
    assert "<html" not in answer.text
    for word, _label in labclient.FAULTS:
        assert browser.post("/lab/machines/LAB-05/fault", {"fault": word}).status_code == 303, word
    assert "LAB-05 is on. Switch it off" in browser.get("/lab").text


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(("machine", "word"), [("LAB-05", "explode"), ("LAB-05", ""), ("NOWHERE", "off")])
def test_a_fault_that_is_not_offered_is_refused_in_words(browser_of: Of, machine: str, word: str) -> None:
    answer = browser_of("ada").post(f"/lab/machines/{machine}/fault", {"fault": word})
    assert answer.status_code == 422


@pytest.mark.usefixtures("lab")
def test_reset_asks_first(browser_of: Of) -> None:
    browser = browser_of("ada")
    browser.post("/lab/machines/LAB-05/fault", {"fault": "off"})
    assert "Keep it" in browser.get("/lab/reset").text
    assert browser.post("/lab/reset").status_code == 303
    assert "LAB-05 is off" not in browser.get("/lab").text


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("name", ["olivia", "vera", "nora"])
def test_who_is_no_administrator_gets_neither_page_nor_menu(browser_of: Of, name: str) -> None:
    browser = browser_of(name)
    assert browser.get("/lab").status_code == 403
    assert browser.post("/lab/machines/LAB-05/fault", {"fault": "off"}).status_code == 403
    assert "Practice lab" not in browser.get("/").text


def test_a_socket_that_nobody_serves_is_a_lab_that_is_away(app: Flask, browser_of: Of) -> None:
    folder = Path(app.config["PWSERVER"].instance) / "lab"
    folder.mkdir()
    (folder / "control.sock").touch()
    assert "The lab does not run" in browser_of("ada").get("/lab").text
    assert browser_of("ada").post("/lab/reset").status_code == 409
