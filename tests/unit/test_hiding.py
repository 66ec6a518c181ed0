"""What is secret by its name is in no text; all else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.cpython import hiding
from latency.cpython.values import Limits, Reader
from latency.recording import HIDDEN
from latency.target.build import Build
from latency.target.process import Process
from tests.unit.test_values import OFFSETS, changed

SECRET = "hunter2-" + "x" * 8
_SECRET = """password passwd user_pass pwd DB_PASSWORD mysqlPwd passphrase token access_token csrftoken authToken
    secret client_secret SECRET_KEY cookie Set-Cookie HTTP_COOKIE authorization Proxy-Authorization auth basic_auth
    HTTP_AUTHORIZATION api_key apikey X-Api-Key HTTP_X_API_KEY apiKey APIKey private_key credential credentials creds
    session session_id sessionid PHPSESSID AWS_SECRET_ACCESS_KEY _password __token oauth2 --password jwt"""
_MARKS = "ab:=\"'\\{[&;@/ \n"
_OTHER = """key keys sort_key monkey author authors tokenizer bypass passed passenger compass keyboard path
    assess possession_count REQUEST_METHOD wsgi.input Content-Type id name"""


class Password(str):
    __slots__ = ()


class SimpleCookie(dict[str, object]):
    pass


class Session:
    """Shown: only what it holds may be secret."""

    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


@pytest.mark.parametrize("name", _SECRET.split())
def test_a_name_says_that_it_is_secret(name: str) -> None:
    assert hiding.is_secret(name)


@pytest.mark.parametrize("name", _OTHER.split())
def test_no_other_name_does(name: str) -> None:
    assert not hiding.is_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"a=1&token={SECRET}&b=2", f"a=1&token={HIDDEN}&b=2"),
        (f'{{"user": "ada", "password": "{SECRET}", "n": 1}}', f'{{"user": "ada", "password": {HIDDEN}, "n": 1}}'),
        (f'{{"password": "{SECRET}\\"{SECRET}"}}', f'{{"password": {HIDDEN}}}'),
        (f'{{"session": {{"id": "{SECRET}"}}}}', f'{{"session": {HIDDEN}'),
        (f'{{\\"token\\": \\"{SECRET}\\"}}', f'{{\\"token\\": {HIDDEN}}}'),
        (f"Host: x\r\nAuthorization: Bearer {SECRET}\r\nA: b", f"Host: x\r\nAuthorization: {HIDDEN}\r\nA: b"),
        (f"Cookie: a={SECRET}; b={SECRET}", f"Cookie: {HIDDEN}"),
        (f"Bearer {SECRET}", f"Bearer {HIDDEN}"),
        (f"postgres://ada:{SECRET}@db:5432/shop", f"postgres://ada:{HIDDEN}@db:5432/shop"),
        ("http://host:8080/a?b=c", "http://host:8080/a?b=c"),
        ("a: b = c", "a: b = c"),
        ("password=", "password="),
    ],
)
def test_a_text_is_shown_without_the_secrets_that_names_in_it_name(text: str, shown: str) -> None:
    assert hiding.without_secrets(text) == shown


@given(
    st.text("ab:=\"'\\{[&;@/ \n", max_size=60), st.integers(0, 60), st.sampled_from(['password="', "token=", "pwd: "])
)
def test_where_a_text_is_cut_no_secret_is_shown(before: str, cut: int, name: str) -> None:
    text = (f"{before}\n{name}{SECRET}")[: len(before) + len(name) + 1 + cut]
    assert SECRET[:2] not in hiding.without_secrets(text, whole=False)


def test_an_address_that_was_cut_may_have_been_a_password() -> None:
    assert hiding.without_secrets("redis://ada:hunt", whole=False) == f"redis://ada:{HIDDEN}"


def test_a_command_line_keeps_its_words_and_not_its_secrets() -> None:
    words = ["shop", "--password", SECRET, "--port", "80", f"--token={SECRET}", f"amqp://a:{SECRET}@b", "--auth", "-x"]
    shown = ["shop", "--password", HIDDEN, "--port", "80", f"--token={HIDDEN}", f"amqp://a:{HIDDEN}@b", "--auth", "-x"]
    assert hiding.command_without_secrets(words) == shown


@pytest.mark.parametrize(
    ("it", "text"),
    [
        ({"user": "ada", "password": SECRET, "n": 1}, f"{{'user': 'ada', 'password': {HIDDEN}, 'n': 1}}"),
        ({"password": {"deep": SECRET}}, f"{{'password': {HIDDEN}}}"),
        ({b"cookie": SECRET}, f"{{b'cookie': {HIDDEN}}}"),
        ({("session", 1): SECRET}, f"{{('session', {HIDDEN}): {HIDDEN}}}"),
        ({"token": None, "auth": True}, "{'token': None, 'auth': True}"),
        ([("Host", "x"), ("Authorization", SECRET)], f"[('Host', 'x'), ('Authorization', {HIDDEN})]"),
        ([[b"authorization", SECRET.encode()]], f"[[b'authorization', {HIDDEN}]]"),
        (["mysql", "--password", SECRET, "x"], f"['mysql', '--password', {HIDDEN}, 'x']"),
        (["token", "password", SECRET], f"['token', {HIDDEN}, {HIDDEN}]"),
        (f"token={SECRET}", f"'token={HIDDEN}'"),
        (f"token={SECRET}".encode(), f"b'token={HIDDEN}'"),
        (bytearray(f"token={SECRET}".encode()), f"bytearray(b'token={HIDDEN}')"),
        (KeyError("token", SECRET), f"KeyError('token', {HIDDEN})"),
        ([Password(SECRET)], f"[{HIDDEN}]"),
        ([SimpleCookie(sid=SECRET)], f"[{HIDDEN}]"),
        ({SECRET[:1] * 500: 1}, None),
    ],
)
def test_a_value_is_hidden_if_its_name_says_that_it_is_secret(reader: Reader, it: object, text: str | None) -> None:
    found = reader.describe(id(it))
    assert found == text if text else found.endswith(f"…: {HIDDEN}}}")
    assert SECRET not in found


def test_attributes_are_hidden_and_their_owner_is_shown(reader: Reader) -> None:
    it = Session(user="ada", _password=SECRET, headers={"Cookie": SECRET})
    found = reader.describe(id(it))
    assert found.endswith(f" user='ada' _password={HIDDEN} headers={{'Cookie': {HIDDEN}}}>")


def test_what_is_hidden_by_its_name_is_not_read(process: Process, reader: Reader) -> None:
    it = [SECRET]
    assert reader.describe(id(it), name="token", memory=changed(process, it, var__size=1 << 63)) == HIDDEN


def test_secrets_are_shown_where_that_is_asked_for(process: Process, build: Build) -> None:
    reader = Reader(process, build, OFFSETS, limits=Limits(time_s=60), show_secrets=True)
    for it in ({"password": SECRET}, [Password(SECRET)], f"token={SECRET}", [("Cookie", SECRET)]):
        assert reader.describe(id(it)) == repr(it)


def test_a_long_container_leaves_room_for_what_comes_after_it(process: Process, build: Build) -> None:
    reader = Reader(process, build, OFFSETS, limits=Limits(total=400, time_s=60))
    it = {"first": dict.fromkeys(range(100), "x" * 50), "second": list(range(1000)), "third": 3}
    text = reader.describe(id(it))
    assert len(text) < 600
    assert text.startswith("{'first': {0: 'xxx")
    assert "…}, 'second': [0, 1," in text
    assert text.endswith("…], 'third': 3}")
