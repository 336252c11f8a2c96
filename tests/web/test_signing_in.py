"""Signing in, out, and what ends a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask

from pwserver import create_app
from pwserver.extensions import db
from pwserver.models import Event
from pwserver.services import login, users
from tests.conftest import Cast, Clock, dispose, email_of, password_of
from tests.web.conftest import Browser

Of = Callable[[str], Browser]


def test_a_right_password_opens_the_door(browser: Browser) -> None:
    answer = browser.sign_in("olivia")
    assert answer.status_code == 303
    page = browser.get("/vaults")
    assert page.status_code == 200
    assert "Computer Lab" in page.text


@pytest.mark.parametrize("name", ["olivia", "nobody"])
def test_a_wrong_password_says_the_same_for_a_user_and_for_nobody(browser: Browser, name: str) -> None:
    answer = browser.sign_in(name, "wrong")
    assert answer.status_code == 422
    assert "do not belong together" in answer.text
    assert email_of(name) in answer.text, "what was typed is kept"
    assert "wrong" not in answer.text.replace("Too many wrong", ""), "but not the password"


def test_a_guesser_is_slowed_down_even_with_the_right_password(browser: Browser) -> None:
    for _ in range(login.PER_PAIR):
        assert browser.sign_in("olivia", "wrong").status_code == 422
    answer = browser.sign_in("olivia")
    assert answer.status_code == 429
    assert "Nothing was checked" in answer.text


def test_a_slowed_down_person_gets_in_when_the_time_is_over(browser: Browser, clock: Clock) -> None:
    for _ in range(login.PER_PAIR):
        browser.sign_in("olivia", "wrong")
    clock.tick(minutes=16)
    assert browser.sign_in("olivia").status_code == 303


def test_a_guesser_at_one_account_does_not_lock_others_out(browser: Browser, app: Flask) -> None:
    for _ in range(login.PER_PAIR + 1):
        browser.sign_in("olivia", "wrong")
    assert Browser(app).sign_in("eddie").status_code == 303


@pytest.mark.parametrize(("proxies", "told"), [(0, {"127.0.0.1"}), (1, {"198.51.100.7", "198.51.100.8"})])
def test_behind_a_proxy_each_persons_own_address_is_counted(
    app: Flask, proxies: int, told: set[str]
) -> None:
    """And without one, nobody can choose the address under which his guesses are counted."""
    behind = create_app(replace(app.config["PWSERVER"], proxies=proxies))
    for address in ("198.51.100.7", "10.9.9.9, 198.51.100.8"):  # a proxy appends; what stood before it is hearsay
        browser = Browser(behind)
        browser.client.environ_base["HTTP_X_FORWARDED_FOR"] = address
        assert browser.sign_in("olivia", "wrong").status_code == 422
    with app.app_context():
        refused = db.session.scalars(db.select(Event).filter_by(verb="session.refused")).all()
        assert {event.facts["address"] for event in refused} == told
    dispose(behind)


def test_the_counts_do_not_keep_what_was_typed_as_email(browser: Browser, app: Flask) -> None:
    browser.post("/sign-in", {"email": "my-real-Password-1", "password": "x"})
    with app.app_context():
        from pwserver.models import Setting

        kept = [row.name + row.text for row in db.session.scalars(db.select(Setting))]
        kept += [event.subject + str(event.facts) for event in db.session.scalars(db.select(Event))]
    assert not [text for text in kept if "my-real" in text.lower()]


def test_changing_ones_password_ends_every_other_session(browser_of: Of, browser: Browser) -> None:
    here, elsewhere = browser_of("olivia"), browser_of("olivia")
    new = "a whole new sentence"
    answer = here.post("/account/password", {"old": password_of("olivia").open(), "new": new, "again": new})
    assert answer.status_code == 303
    assert here.get("/account").status_code == 200, "one stays where one is"
    assert elsewhere.get("/account").status_code == 302
    assert browser.sign_in("olivia").status_code == 422
    assert browser.sign_in("olivia", new).status_code == 303


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"old": "wrong", "new": "long enough it is", "again": "long enough it is"}, "not your present password"),
        ({"new": "short", "again": "short"}, "At least 14 characters; this has 5"),
        ({"new": "long enough it is", "again": "long enough it isn't"}, "not the same"),
    ],
)
def test_a_password_that_cannot_be_is_refused_beside_its_field(
    browser_of: Of, data: dict[str, str], words: str
) -> None:
    here = browser_of("olivia")
    answer = here.post("/account/password", {"old": password_of("olivia").open()} | data)
    assert answer.status_code == 422
    assert words in answer.text
    assert data["new"] not in answer.text
    assert here.get("/account").status_code == 200


def test_a_deactivated_user_is_out_at_once(browser_of: Of, app: Flask, browser: Browser) -> None:
    here = browser_of("vera")
    with app.app_context():
        users.set_active(None, Cast().vera, False)
    assert here.get("/vaults").status_code == 302
    assert browser.sign_in("vera").status_code == 422


def test_a_one_time_password_opens_nothing_but_the_change(browser_of: Of, app: Flask, browser: Browser) -> None:
    page = browser_of("ada").post("/users/new", {"email": "zoe@northfield.example", "name": "Zoe Zimmer"})
    with app.app_context():
        zoe = users.find("zoe@northfield.example")
        assert zoe is not None
        assert users.has_one_time_password(zoe)
    import html
    import re

    shown = re.search(r'id="one-time">(.*?)</output>', page.text)
    assert shown
    made = html.unescape(re.sub("<[^>]+>", "", shown[1]))
    assert browser.post("/sign-in", {"email": "zoe@northfield.example", "password": made}).status_code == 303
    assert browser.get("/vaults").headers["Location"].endswith("/account/password")
    new = "my own sentence now"
    assert browser.post("/account/password", {"old": made, "new": new, "again": new}).status_code == 303
    assert browser.get("/vaults").status_code == 200


def test_signing_out_ends_it(browser_of: Of) -> None:
    here = browser_of("olivia")
    assert here.post("/sign-out").status_code == 303
    assert here.get("/vaults").status_code == 302


@pytest.mark.parametrize(
    "evil",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)", "/a\nb"],
)
def test_a_link_to_sign_in_never_leads_elsewhere(browser: Browser, evil: str) -> None:
    answer = browser.post("/sign-in", {"email": email_of("vera"), "password": password_of("vera").open(), "next": evil})
    assert answer.status_code == 303
    assert "evil" not in answer.headers["Location"]


def test_after_signing_in_one_goes_on_to_the_page_of_the_mail(browser: Browser, ids: dict[str, str]) -> None:
    page = f"/passwords/{ids['entry_id']}"
    door = browser.get(page)
    assert door.status_code == 302
    assert "next=%2Fpasswords" in door.headers["Location"] or "next=/passwords" in door.headers["Location"]
    data = {"email": email_of("vera"), "password": password_of("vera").open(), "next": page}
    assert browser.post("/sign-in", data).headers["Location"] == page


def test_the_theme_is_remembered_on_the_page(browser_of: Of) -> None:
    here = browser_of("vera")
    assert "data-bs-theme" not in here.get("/account").text
    here.post("/account/theme", {"theme": "dark"})
    assert 'data-bs-theme="dark"' in here.get("/account").text
    assert here.post("/account/theme", {"theme": "pink"}).status_code == 422
