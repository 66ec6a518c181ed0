"""Which values are secret, by what they are called, and texts without them.

A name is secret by its words, however they are written: ``api_key``, ``X-Api-Key``, ``HTTP_X_API_KEY``, ``apiKey``.
Within a text, it is what a name, a header or a web address in it says: ``password=…``, ``"token": "…"``,
``Cookie: …``, ``postgres://me:…@host/``. What no name says cannot be known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from latency.recording import HIDDEN

_LONGEST_NAME = 1_000
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # of snake_case, kebab-case, CamelCase, HTTPHeader
# Anywhere in a name, over the borders of its words.
_STEMS = re.compile(
    "passw(?:or)?d|passphrase|passcode|secret|credential|authori[sz]ation|authentication|cookie|csrf|xsrf|sess(?:ion)?id"
    "|(?:api|access|private|signing|encryption|master|shared|hmac)key"
)
# A whole word.
_WORDS = re.compile("o?auth|bearer|creds?|cv[cv]|jwt|t?otp|pass|pwd?|sessions?")
_ENDINGS = ("token", "tokens", "pwd")  # of a word: authtoken

_NAME = r"(?<![\w.\[\]-])[\w.\[\]-]+"
# "token": , 'token': , token=, Cookie: and the same with quotes that are escaped; then what is named so.
_NAMED = re.compile(rf"""({_NAME})(\\*["'])?[^\S\r\n]{{0,2}}(=>?|:)[^\S\r\n]{{0,2}}""")
_VALUE = re.compile(
    r"""  "(?:[^"\\]|\\.)*(?:"|\Z)
      |   '(?:[^'\\]|\\.)*(?:'|\Z)
      |   \\+(["']).*?(?:\\+\1|\Z)
      |   [\[{].*
      |   [^\s&;]+""",
    re.VERBOSE | re.DOTALL,
)
_LINE = re.compile(r"[^\r\n]*")
_SCHEME = re.compile(r"\b(bearer|basic|digest)(\s+)[^\s\"',;]{8,}", re.IGNORECASE)
_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,20}://[^\s/:@?#\"']{0,100}:)([^\s/@\"']{1,300})(@|\Z)")
_LITERAL = re.compile(r"b?(['\"])([\w.\[\]-]{1,100}):?\1")


@lru_cache(4096)
def is_secret(name: str) -> bool:
    """Whether a name says that what it names is secret."""
    words = [word.lower() for word in _WORD.findall(name[:_LONGEST_NAME])]
    if any(_WORDS.fullmatch(word) or word.endswith(_ENDINGS) for word in words):
        return True
    return _STEMS.search("".join(words)) is not None


def names_a_secret(literal: str) -> bool:
    """Whether the ``repr`` of a ``str`` or ``bytes`` is such a name, so that what follows it is secret.

    That is so of the pairs of headers, and of the words of a command line (``--password``).
    """
    found = _LITERAL.fullmatch(literal)
    return found is not None and is_secret(found[2])


def without_secrets(text: str, *, whole: bool = True) -> str:
    """A text in which ``HIDDEN`` stands for each secret value that a name in it names.

    Args:
        text: any; what stands for characters that are no text may be anything.
        whole: whether this is all of it, and not a beginning.
    """
    text = _SCHEME.sub(rf"\1\2{HIDDEN}", text)
    if "://" in text:
        text = _ADDRESS.sub(lambda it: it[0] if whole and not it[3] else f"{it[1]}{HIDDEN}{it[3]}", text)
    parts = []
    at = 0
    for found in _NAMED.finditer(text):
        if found.start() < at or not is_secret(found[1]):
            continue
        begin = found.end()
        value = _VALUE.match(text, begin)
        if value and found[3] == ":" and not found[2] and value[0][:1] not in "[{":
            value = _LINE.match(text, begin)  # a header's value is all of its line
        if value:
            parts += [text[at:begin], HIDDEN]
            at = value.end()
    return "".join((*parts, text[at:]))


def command_without_secrets(words: Iterable[str]) -> list[str]:
    """The words of a command line, in which the values of secret options are ``HIDDEN``."""
    found: list[str] = []
    follows = False
    for word in words:
        found.append(HIDDEN if follows and not word.startswith("-") else without_secrets(word))
        follows = word.startswith("-") and "=" not in word and is_secret(word)
    return found
