"""A secret never prints itself; sealed data opens only in its place; outside text is scrubbed."""

from __future__ import annotations

import base64
import copy
import logging
import pickle
from dataclasses import asdict
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pwserver.connectors.base import Answer, Credential, Evidence, Unreachable, ask
from pwserver.core.errors import Invalid
from pwserver.core.scrub import scrub
from pwserver.core.secrets import Keyring, KeyringError, Sealed, Secret, bound_to, check_value, key_id

WORD = "Zebra-93kq#Rezun"
SECRET = Secret(WORD)
RING = Keyring(b"k" * 32)
HERE = bound_to("entry_version", "1", "sealed")


def test_a_secret_shows_stars_however_it_is_shown() -> None:
    for shown in (
        repr(SECRET),
        str(SECRET),
        f"{SECRET}",
        f"{SECRET!r:>40}",
        "%s %r" % (SECRET, SECRET),  # noqa: UP031  # one of the ways
        f"{SECRET:30}",
    ):
        assert WORD not in shown
        assert "****" in shown
    assert WORD not in repr(Credential("u", SECRET))
    assert WORD not in repr({"a": [SECRET]})


def test_a_secret_is_never_pickled_copied_hashed_or_iterated() -> None:
    for act in (
        lambda: pickle.dumps(SECRET),
        lambda: copy.deepcopy(SECRET),
        lambda: hash(SECRET),
        lambda: list(SECRET),  # type: ignore[call-overload]
        lambda: asdict(Credential("u", SECRET)),
        lambda: len(SECRET),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError):
            act()
    with pytest.raises(AttributeError):
        SECRET.__dict__  # noqa: B018


def test_a_secret_in_a_log_line_or_a_traceback_is_stars(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("x").warning("value %s %r", SECRET, SECRET)
        try:
            raise ValueError(SECRET)
        except ValueError:
            logging.getLogger("x").exception("failed")
    assert "value Secret(********)" in caplog.text
    assert WORD not in caplog.text


def test_secrets_are_equal_by_value_and_to_nothing_else() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert SECRET != WORD
    assert Secret("e\u0301") != Secret("\u00e9")
    assert Secret("\ud800") == Secret("\ud800")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Type a password"),
        ("a\0b", "NUL"),
        ("a\nb", "line breaks"),
        ("a\rb", "line breaks"),
        (" a", "blank"),
        ("a\u00a0", "blank"),
        ("\u3000a", "blank"),
        ("x" * 128, "has 128"),
        ("\U0001f600" * 64, "has 128"),
        ("a\udc00", "half a character"),
    ],
)
def test_a_value_that_could_not_be_kept_byte_exact_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_value(Secret(text), field="here")
    assert words in refused.value.user_message
    assert refused.value.field == "here"


@given(st.text(max_size=140))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_what_is_accepted_is_returned_unchanged_and_opens_byte_for_byte(text: str) -> None:
    secret = Secret(text)
    try:
        assert check_value(secret) is secret
    except Invalid:
        return
    assert RING.open(RING.seal(secret, HERE), HERE).open() == text
    assert 0 < len(text.encode("utf-16-le")) // 2 <= 127


def test_a_sealed_value_opens_in_its_own_place_only() -> None:
    sealed = RING.seal(SECRET, HERE)
    assert RING.open(sealed, HERE) == SECRET
    for there in (
        bound_to("entry_version", "2", "sealed"),
        bound_to("override", "1", "sealed"),
        bound_to("entry_version", "1", "other"),
        b"",
    ):
        with pytest.raises(KeyringError):
            RING.open(sealed, there)


@pytest.mark.parametrize("cut", [0, 3, 4, 10, 16, 20, 31, -1])
def test_damaged_data_is_a_keyring_error_and_nothing_else(cut: int) -> None:
    data = RING.seal(SECRET, HERE).data
    with pytest.raises(KeyringError):
        RING.open(Sealed(data[:cut]), HERE)


def test_one_flipped_bit_anywhere_does_not_open() -> None:
    data = RING.seal(SECRET, HERE).data
    for at in range(len(data)):
        with pytest.raises(KeyringError):
            RING.open(Sealed(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]), HERE)


def test_another_key_does_not_open_and_an_old_one_beside_the_new_does() -> None:
    sealed = RING.seal(SECRET, HERE)
    new = b"n" * 32
    with pytest.raises(KeyringError):
        Keyring(new).open(sealed, HERE)
    both = Keyring(new, b"k" * 32)
    assert both.open(sealed, HERE) == SECRET
    assert both.seal(SECRET, HERE).key_id == key_id(new)


def test_two_seals_of_one_value_look_different_and_tell_nothing() -> None:
    one, other = RING.seal(SECRET, HERE), RING.seal(SECRET, HERE)
    assert one.data != other.data
    assert WORD.encode() not in one.data
    assert "Sealed(key" in repr(one)
    assert one.data.hex() not in repr(one)


def test_digests_tell_equality_within_one_name_only() -> None:
    assert RING.digest("a", SECRET) == RING.digest("a", Secret(WORD))
    assert RING.digest("a", SECRET) != RING.digest("b", SECRET)
    assert RING.digest("a", SECRET) != RING.digest("a", Secret(WORD + " "))
    assert RING.digest("ab", Secret("c")) != RING.digest("a", Secret("bc"))
    assert Keyring(b"o" * 32).digest("a", SECRET) != RING.digest("a", SECRET)


def test_a_master_key_of_another_length_is_refused() -> None:
    for wrong in ((), (b"",), (b"x" * 31,), (b"x" * 32, b"y")):
        with pytest.raises(KeyringError):
            Keyring(*wrong)
    assert "k" * 32 not in repr(RING)


# -- outside text


@pytest.mark.parametrize(
    "told",
    [
        f"password {WORD} is wrong",
        base64.b64encode(WORD.encode()).decode(),
        base64.b64encode(WORD.encode("utf-16-le")).decode(),
        quote(WORD),
        quote(WORD, safe=""),
        f'{{"p":"{WORD}"}}',
    ],
)
def test_a_machine_that_repeats_our_secret_is_not_kept_word_for_word(told: str) -> None:
    assert "Zebra" not in scrub(told, [SECRET])
    assert base64.b64encode(WORD.encode()).decode().rstrip("=") not in scrub(told, [SECRET])
    assert "****" in scrub(told, [SECRET])


def test_hostile_secrets_are_scrubbed_as_html_and_json_write_them() -> None:
    hostile = Secret("a<b&\"\\c'd")
    for told in ("a&lt;b&amp;\"\\c'd", "a<b&\\\"\\\\c'd", "a<b&\"\\c'd"):
        assert scrub(f"x {told} y", [hostile]) == "x ******** y"


def test_the_wrapper_bounds_and_scrubs_what_a_connector_says() -> None:
    def broken() -> Evidence:
        raise Unreachable("no_answer", text=f"{WORD} " + "x" * 5000, code=f"E{WORD}")

    outcome = ask(broken, secrets=[SECRET])
    assert WORD not in outcome.text + outcome.code
    assert len(outcome.text) <= 400


def test_a_bug_in_a_connector_tells_its_kind_and_place_but_never_its_words(caplog: pytest.LogCaptureFixture) -> None:
    def bug() -> Evidence:
        raise RuntimeError(f"could not use {WORD}")

    outcome = ask(bug, secrets=[SECRET])
    assert (outcome.answer, outcome.bug, outcome.code) == (Answer.UNKNOWN, True, "RuntimeError")
    assert WORD not in outcome.text + caplog.text
