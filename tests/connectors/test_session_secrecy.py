"""No secret leaves through a log, a repr, a traceback or an object that is kept."""

from __future__ import annotations

import base64
import io
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from pwserver.connectors.base import ConnectorError, Credential
from pwserver.connectors.contract import ContractError, Hop
from pwserver.connectors.session import SessionTiming
from pwserver.core.secrets import Secret
from tests.lab_wire.kit import Lab, ask, call, reset

CANARIES = ("Canary-Value-1€", "Canary-Old-2", "Canary-Login-3")
NEW, OLD, WRONG = (Secret(text) for text in CANARIES)
ACCOUNT = {"user": "Administrator", "account_sid": "", "min_left": 2}


def needles(*secrets: Secret) -> list[str]:
    """Every form in which a value could be found, also in the middle of base64."""
    found = []
    for secret in secrets:
        text = secret.open()
        found += [text, quote(text), text.encode("unicode_escape").decode()]
        for raw in (text.encode(), text.encode("utf-16-le")):
            for shift in range(3):
                encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
                found.append(encoded[4 if shift else 0 : -2])
            found.append(raw.hex())
    return found


def hits(text: str, *secrets: Secret) -> list[str]:
    return [needle for needle in needles(*secrets) if needle in text]


@pytest.fixture
def everything_logged() -> Iterator[Callable[[], str]]:
    """All that any logger says at DEBUG, formatted with its tracebacks."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setLevel(1)
    names = ["", *logging.root.manager.loggerDict]
    kept = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(1)
    logging.getLogger().addHandler(handler)
    yield stream.getvalue
    logging.getLogger().removeHandler(handler)
    for name, level in kept.items():
        logging.getLogger(name).setLevel(level)


def test_no_log_at_any_level_has_a_secret(lab: Lab, everything_logged: Callable[[], str]) -> None:
    session = lab.session()
    old = lab.initial("LAB-01\\Administrator")
    ask(session, "change", **ACCOUNT, reset_allowed=False, old=old, new=NEW)
    hop = Hop("LAB-02", "LAB-02\\svc-psrv", lab.initial("LAB-02\\svc-psrv"), "ssl")
    reset(session, NEW, "LAB-02", hop=hop)
    ask(session, "verify", **ACCOUNT, value=WRONG)
    with pytest.raises(ConnectorError):
        reset(lab.session(login=Credential("LAB-01\\svc-psrv", WRONG)), NEW)
    text = everything_logged()
    assert "POST /wsman" in text, "the logs were really read"
    assert hits(text, NEW, OLD, WRONG, old, lab.login().secret, hop.secret) == []


def spoil(lab: Lab, how: str) -> None:
    if how == "foreign":
        lab.mind = lambda *asked: (asked[5] + asked[5].hex().encode(), 0)
    elif how == "wrong pin":
        lab.network.set_fault("LAB-01", "certificate")
    elif how in ("off", "no-shells", "refuse-login", "cut-before", "cut-after"):
        lab.network.set_fault("LAB-01", how)
    else:
        action, moment = how.split()
        lab.wire.interrupt = lambda machine, what, when: (what, when) == (action, moment)


@pytest.mark.parametrize(
    "how",
    ["off", "wrong pin", "no-shells", "refuse-login", "cut-before", "cut-after", "foreign"]
    + [f"{action} {moment}" for action in ("Create", "Command", "Send", "Receive") for moment in ("before", "after")],
)
def test_no_traceback_has_a_secret_even_with_its_local_variables(lab: Lab, how: str) -> None:
    spoil(lab, how)
    session = lab.session(timing=SessionTiming(connect_s=2, operation_s=1, chunk=500))
    assert lab.login().secret != NEW
    try:
        ask(session, "change", **ACCOUNT, reset_allowed=False, old=OLD, new=NEW)
    except ConnectorError as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        text = "".join(told.format()) + repr(error) + error.text + error.code
        deep = frames(error)
    assert "run(" in text
    assert hits(text, NEW, OLD, lab.login().secret) == []
    assert hits(deep, NEW, OLD, lab.login().secret) == []


def frames(error: BaseException) -> str:
    """The local variables of every frame of the error and of whatever it hangs on, one level into objects."""
    parts: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        for frame, _ in traceback.walk_tb(seen.__traceback__):
            if "/tests/" not in frame.f_code.co_filename:
                parts += [f"{name}={value!r} {getattr(value, 'data', '')!r}" for name, value in frame.f_locals.items()]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(parts)


def test_the_frames_are_really_searched(lab: Lab) -> None:
    """Negative control: an error raised beside a secret is found out by the search above."""

    def leak() -> Any:
        held = NEW.open()
        raise ValueError(len(held))

    try:
        leak()
    except ValueError as error:
        text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert hits(text, NEW)


def test_nothing_that_is_kept_while_a_session_is_open_has_the_login(lab: Lab) -> None:
    session = lab.session()
    ask(session, "identity")
    assert session._shell is not None
    found, seen, todo = [], set(), [vars(session._shell)]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, str | bytes):
            found += hits(thing if isinstance(thing, str) else thing.decode("latin-1"), lab.login().secret)
        elif isinstance(thing, dict):
            todo += [*thing.keys(), *thing.values()]
        elif isinstance(thing, list | tuple | set):
            todo += list(thing)
        elif type(thing).__module__.split(".")[0] in ("winrm", "requests", "requests_ntlm", "spnego", "pwserver"):
            todo.append(getattr(thing, "__dict__", {}))
    assert len(seen) > 50, "the session's objects were really walked"
    assert found == []


def test_a_session_and_its_parts_print_no_secret(lab: Lab) -> None:
    session = lab.session()
    ask(session, "identity")
    assert session._shell is not None
    text = f"{session!r} {lab.login()!r} {session._shell._protocol!r} {session._shell._protocol.transport!r}"
    assert hits(text, lab.login().secret) == []


def test_a_request_the_contract_does_not_know_is_seen_before_anything_is_sent(lab: Lab) -> None:
    with pytest.raises(ContractError):
        lab.session().run("reset", call=call(), computer_name="LAB-01", params={}, secrets={"new": NEW})
    assert lab.saw() == []


def test_what_a_machine_says_on_standard_error_is_cut_before_anything_encoded(lab: Lab) -> None:
    from pwserver.connectors.session import _sentence

    encoded = base64.b64encode(b'{"secrets": {"new": "Canary-Value-1"}}').decode()
    said = f"The term {encoded} is not recognized: Canary-Old-2".encode()
    assert _sentence(said, [OLD]) == "The term"
    assert _sentence(b"no Canary-Old-2 here \xff", [OLD]) == "no ******** here \ufffd"
