"""The watchdog: what is wrong with the server itself is said on every page, mailed once, and once when it is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from pwserver.core.watch import Facts, troubles
from pwserver.models import Setting, SyncChain
from pwserver.services import watch
from pwserver.services.mail import outbox, summary
from pwserver.services.transaction import write
from tests.conftest import Cast, Clock
from tests.mail.conftest import Receiver, rows, send_due, use
from tests.web.conftest import Browser
from tests.web.things import add_chain

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
WELL = Facts(
    timer_at=AT, workers={"now": AT, "later": AT}, tested_at=AT, disk_free=50 * 10**9, disk_total=100 * 10**9
)  # fmt: skip
LONG = AT - timedelta(hours=3)


@pytest.mark.parametrize(
    ("facts", "kinds"),
    [
        (WELL, []),
        (Facts(), []),
        (replace(WELL, timer_at=AT - timedelta(seconds=61), disk_free=1), ["timer"]),
        (replace(WELL, timer_at=AT - timedelta(seconds=59)), []),
        (replace(WELL, workers={"now": AT, "later": AT - timedelta(seconds=91)}), ["workers"]),
        (replace(WELL, tests_due_since=LONG, tested_at=LONG), ["tests"]),
        (replace(WELL, tests_due_since=LONG, tested_at=None), ["tests"]),
        (replace(WELL, tests_due_since=LONG, tested_at=AT - timedelta(minutes=5)), []),
        (replace(WELL, tests_due_since=AT - timedelta(hours=1), tested_at=LONG), []),
        (replace(WELL, mails_failed=1), ["mails"]),
        (replace(WELL, mail_error="no"), ["mails"]),
        (replace(WELL, mail_waits_since=AT - timedelta(minutes=16)), ["mails"]),
        (replace(WELL, mail_waits_since=AT - timedelta(minutes=14)), []),
        (replace(WELL, disk_free=4 * 10**9), ["disk"]),
        (replace(WELL, disk_free=400 * 10**6, disk_total=10**9), ["disk"]),
    ],
)
def test_each_trouble_is_seen_at_its_limit_and_not_before(facts: Facts, kinds: list[str]) -> None:
    assert [each.kind for each in troubles(facts, AT)] == kinds


def test_a_disk_at_its_limit_does_not_flap() -> None:
    facts = replace(WELL, disk_free=int(5.5 * 10**9))
    assert troubles(facts, AT) == []
    assert [each.kind for each in troubles(facts, AT, open_kinds=frozenset({"disk"}))] == ["disk"]


def test_a_trouble_is_mailed_once_to_the_administrators_and_once_when_it_is_over(
    ctx: Flask, receiver: Receiver, clock: Clock
) -> None:
    use(ctx, receiver.settings)
    bad = Facts(mail_error="PWSERVER_SMTP_PORT is wrong.")
    for _ in range(3):
        watch.keep(bad)
        send_due()
    for _ in range(3):
        watch.keep(Facts())
        send_due()
    assert [(mail.to, mail.subject.split(":")[0]) for mail in receiver.mails] == [
        (["ada@northfield.example"], "Password Server itself needs an administrator"),
        (["ada@northfield.example"], "Password Server works again, it is over"),
    ]


def test_a_dead_timer_is_noticed_by_the_web_process_and_is_over_with_the_next_beat(app: Flask, clock: Clock) -> None:
    ada, olivia, vera = (Browser(app) for _ in range(3))
    for name, browser in (("ada", ada), ("olivia", olivia), ("vera", vera)):
        browser.sign_in(name)
    with app.app_context():
        watch.begin(everything=True)
        assert not watch.notice_timer()
    assert ada.get("/health").text == "ok\n"
    assert "The timer has not run" not in ada.get("/").text
    clock.tick(seconds=120)
    answer = Browser(app).get("/health")
    assert (answer.status_code, answer.text) == (503, "not ok\n")
    assert "The timer has not run since 24 Nov, 02:00 UTC." in ada.get("/users").text
    assert "nothing is tested or tried again by itself" in olivia.get("/").text
    assert "stands still" not in vera.get("/").text, "it does not concern her"
    with app.app_context():
        assert watch.notice_timer()
        assert watch.notice_timer()
        assert [row.template for row in rows()] == ["trouble"]
        with write() as session:
            session.delete(session.get_one(Setting, watch.BEATS))
        watch.keep(watch.read_facts())
        assert watch.open_troubles() == []


def test_a_failed_mail_is_a_trouble_until_somebody_looks_after_it(ctx: Flask, receiver: Receiver, cast: Cast) -> None:
    use(ctx, receiver.settings)
    receiver.handler.refuse = {"olivia@northfield.example": "550 no such user"}
    with write() as session:
        outbox.put(session, cast.olivia, "test", "test", "mark")
    send_due()
    watch.keep(watch.read_facts())
    assert [each.kind for each in watch.open_troubles()] == ["mails"]
    outbox.put_away(cast.ada, rows(state="failed")[0])
    watch.keep(watch.read_facts())
    assert watch.open_troubles() == []


def test_tests_that_are_due_and_do_not_run_are_seen(ctx: Flask, clock: Clock) -> None:
    chain = add_chain()
    with write() as session:
        session.get_one(SyncChain, chain.id).next_test_at = clock()
    clock.tick(hours=3)
    assert [each.kind for each in troubles(watch.read_facts(), clock()) if each.kind == "tests"] == ["tests"]


# -- the week


def test_the_week_is_mailed_on_monday_morning_once_to_every_owner_quiet_or_not(
    ctx: Flask, receiver: Receiver, clock: Clock
) -> None:
    use(ctx, receiver.settings)
    add_chain()
    summary.make_due()
    assert rows() == [], "a new server begins with its first Monday"
    clock.moment = datetime(2026, 11, 30, 6, 59, tzinfo=UTC)
    summary.make_due()
    assert rows() == []
    clock.tick(minutes=2)
    for _ in range(3):
        summary.make_due()
        send_due()
    (mail,) = receiver.mails
    assert mail.to == ["olivia@northfield.example"]
    assert mail.subject == "Your passwords this week: 1 of 1 proved, 0 open"
    clock.tick(days=7)
    summary.make_due()
    assert len(rows()) == 2


def test_the_week_counts_what_is_unproved_and_since_when(ctx: Flask, clock: Clock, cast: Cast) -> None:
    chain = add_chain()
    clock.tick(days=4)
    with write() as session:
        session.get_one(SyncChain, chain.id).status = "pending_sync"
    week = summary.of(cast.olivia)
    assert week is not None
    assert week.words == "0 of 1 proved, 0 open, oldest unproved 4 days"
    assert summary.Week(1000, 998, 2, "4 days").words == "998 of 1,000 proved, 2 open, oldest unproved 4 days"
    assert summary.of(cast.ada) is None
