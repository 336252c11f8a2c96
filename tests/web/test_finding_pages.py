"""The search, the star and the undo as pages: without script, as fragments, and for those who may see nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest
from flask import Flask

from tests.conftest import Cast
from tests.web import scenes
from tests.web.conftest import Browser

Of = Callable[[str], Browser]
proofs = pytest.mark.breaks_invariants  # scenes write proofs that no run made


@proofs
def test_which_passwords_does_this_machine_have(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        entry_id = scenes.out_of_sync().id
    page = browser_of("vera").get("/search?q=lab-05").text
    assert "1 machine and 1 password of those you may see" in page
    assert "<mark>LAB-05</mark>" in page
    assert f'href="/passwords/{entry_id}/synchronization"' in page, "from the machine to the chain"
    assert "in its chain: <code><mark>LAB-05</mark> Administrator</code>" in page
    assert "Out of Sync" in page


@proofs
@pytest.mark.parametrize("name", ["nora", "ada"])
def test_who_may_see_nothing_is_told_nothing(app: Flask, browser_of: Of, name: str) -> None:
    with app.app_context():
        scenes.chain()
    for path in ("/search?q=lab-05", "/search?q=administrator", "/search?only=in_sync", "/search?only=pending_sync"):
        page = browser_of(name).get(path).text
        assert "Nothing matches" in page, path
        assert "Lab Administrator" not in page
        assert not re.search(r"\d+ machine", page)


def test_what_is_typed_comes_back_as_text_and_nothing_else(browser_of: Of) -> None:
    page = browser_of("vera").get("/search?q=%3Cscript%3Ealert(1)%3C/script%3E").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_every_page_has_the_search_and_an_empty_one_says_what_it_takes(browser_of: Of) -> None:
    vera = browser_of("vera")
    for path in ("/", "/vaults", "/runs", "/account"):
        assert 'action="/search"' in vera.get(path).text, path
    assert "Notes are not searched" in vera.get("/search").text


def test_a_search_while_typing_is_a_fragment_that_says_how_much_it_found(browser_of: Of) -> None:
    answer = browser_of("vera").get("/search?q=lab", headers={"HX-Request": "true"})
    assert "<html" not in answer.text
    assert 'id="say" hx-swap-oob="innerHTML">1 password found.' in answer.text


def test_a_star_is_set_without_script_and_stands_on_the_dashboard(browser_of: Of, ids: dict[str, str]) -> None:
    vera, entry = browser_of("vera"), ids["entry_id"]
    assert 'aria-pressed="false"' in vera.get(f"/passwords/{entry}").text
    answer = vera.post(f"/passwords/{entry}/favourite", {"on": "1"})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/passwords/{entry}")
    assert 'aria-pressed="true"' in vera.get(f"/passwords/{entry}").text
    favourites = vera.get("/").text.split('id="h-favourites"')[1]
    assert "Lab Administrator" in favourites
    assert "Lab Administrator" not in browser_of("olivia").get("/").text.split('id="h-favourites"')[1]
    vera.post(f"/passwords/{entry}/favourite", {"on": "0"})
    assert "The star beside" in vera.get("/").text


def test_a_star_is_swapped_in_its_place(browser_of: Of, ids: dict[str, str]) -> None:
    answer = browser_of("vera").post(f"/passwords/{ids['entry_id']}/favourite", {"on": "1"}, htmx=True)
    assert answer.status_code == 200
    assert 'name="on" value="0"' in answer.text
    assert "is a favourite now" in answer.text
    assert "<html" not in answer.text


def test_a_star_is_gone_with_the_right_to_see(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    vera, olivia = browser_of("vera"), browser_of("olivia")
    vera.post(f"/passwords/{ids['entry_id']}/favourite", {"on": "1"})
    with app.app_context():
        vault_id = Cast().vault.id
    olivia.post(f"/vaults/{vault_id}/members/{ids['user_id']}/remove")
    page = vera.get("/").text
    assert "Lab Administrator" not in page
    assert "The star beside" in page


def test_what_went_to_the_trash_comes_back_by_one_press(browser_of: Of, ids: dict[str, str]) -> None:
    eddie = browser_of("eddie")
    version = re.search(r'name="row_version" value="(\d+)"', eddie.get(f"/passwords/{ids['entry_id']}/trash").text)
    assert version
    answer = eddie.post(f"/passwords/{ids['entry_id']}/trash", {"row_version": version[1]})
    page = eddie.get(answer.headers["Location"]).text
    toast = page.split('class="toast show"')[1]
    assert "Lab Administrator is in the trash." in toast
    undo = re.search(r'action="([^"]+)"', toast)
    assert undo
    assert "toast show" not in eddie.get(answer.headers["Location"]).text, "said once"
    assert eddie.post(undo[1]).status_code == 303
    assert eddie.get(f"/passwords/{ids['entry_id']}").status_code == 200


def test_a_removed_member_comes_back_with_the_right_they_had(app: Flask, browser_of: Of, ids: dict[str, str]) -> None:
    olivia, members = browser_of("olivia"), f"/vaults/{ids['vault_id']}/members"
    olivia.post(f"{members}/{ids['user_id']}/remove")
    toast = olivia.get(members).text.split('class="toast show"')[1]
    assert "Vera Voss is no member any more." in toast
    fields = dict(re.findall(r'name="(email|right)" value="([^"]+)"', toast.split("</form>")[0]))
    assert fields["right"] == "read"
    olivia.post(members, fields)
    assert browser_of("vera").get(f"/vaults/{ids['vault_id']}").status_code == 200


def test_the_menu_counts_what_runs_and_who_waits(app: Flask, browser_of: Of) -> None:
    from tests.web.things import add_agent

    with app.app_context():
        add_agent("BRANCH-07", state="pending", health="untested")
    assert re.search(r'1<span class="visually-hidden"> pending', browser_of("ada").get("/vaults").text)
    assert "pending</span>" not in browser_of("olivia").get("/vaults").text


@proofs
def test_the_menu_counts_runs_of_those_who_may_see_them(app: Flask, browser_of: Of) -> None:
    with app.app_context():
        scenes.changing()
    assert re.search(r'1<span class="visually-hidden"> running', browser_of("vera").get("/vaults").text)
    assert "running</span>" not in browser_of("nora").get("/vaults").text


@proofs
def test_the_health_is_drawn_with_what_is_out_of_sync_standing_taller(app: Flask, browser_of: Of) -> None:
    from tests.web.many import fill

    with app.app_context():
        fill(Cast().vault, 24, links=1)
    page = browser_of("vera").get("/").text
    bars = re.findall(r'<rect class="tone-(\w+)" x="([\d.]+)" y="(\d)" width="([\d.]+)" height="(\d+)"/>', page)
    assert {height for tone, _, _, _, height in bars if tone == "bad"} == {"14"}
    assert {height for tone, _, _, _, height in bars if tone != "bad"} == {"6"}
    ends = [float(x) + float(width) for _, x, _, width, _ in bars]
    assert max(ends) <= 1000.5
    assert min(float(width) for _, _, _, width, _ in bars) >= 10, "one of ten thousand is still seen"
    assert 'aria-label="2 Out of Sync' in page
    assert 'href="/search?only=out_of_sync"' in page


@proofs
def test_a_vault_of_which_something_is_in_motion_asks_again_and_gets_only_news(
    app: Flask, browser_of: Of, ids: dict[str, str]
) -> None:
    olivia = browser_of("olivia")
    here = f"/vaults/{ids['vault_id']}"
    assert 'hx-trigger="every' not in olivia.get(here).text, "at rest it does not ask"
    with app.app_context():
        scenes.changing()
    asks = re.search(r'hx-get="([^"]+since=[^"]+)" hx-trigger="every 2s"', olivia.get(here).text)
    assert asks, "something is in motion"
    again = html.unescape(asks[1])
    assert olivia.get(again, headers={"HX-Request": "true"}).status_code == 204
    with app.app_context():
        scenes.end_runs(Cast().entry)
    news = olivia.get(again, headers={"HX-Request": "true"})
    assert news.status_code == 200
    assert "Out of Sync" in news.text
