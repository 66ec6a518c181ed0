"""A YAML file whose every part knows its line and its key, so that what is wrong can be said where it stands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

import yaml

from latency.errors import ConfigError

_MOST_BYTES = 1 << 20
_HINT = "see docs/agent.md"
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_REQUIRED = object()


@dataclass(frozen=True)
class Node:
    """One place of the file.

    Args:
        node: what stands there; None where nothing does.
        key: the way to it: ``rules[0].processes``.
        file: whose.
        line: of what stands there, or of what it should stand in; from 1 on.
    """

    node: yaml.Node | None
    key: str
    file: Path
    line: int

    @property
    def missing(self) -> bool:
        """Whether nothing stands there, or the word null."""
        return self.node is None or self.node.tag == "tag:yaml.org,2002:null"

    def wrong(self, what: str, hint: str = _HINT) -> ConfigError:
        """The error that says so."""
        where = f"{self.file}:{self.line}: {self.key}" if self.key else f"{self.file}:{self.line}"
        if isinstance(self.node, _Variable):
            where = f"{self.node.variable} in the environment"
        return ConfigError(f"{where}: {what}", hint)

    # -- what is in it -----------------------------------------------------------------------------

    def pairs(self) -> dict[str, Node]:
        """Of a mapping; none where it is missing. Raises ConfigError."""
        if self.missing:
            return {}
        if not isinstance(self.node, yaml.MappingNode):
            raise self.wrong("here should be keys with values")
        found: dict[str, Node] = {}
        for key, value in self.node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.wrong("a key is no word")
            if key.value in found:
                raise self._at(key, key.value).wrong("this key stands here twice")
            found[key.value] = self._at(value, key.value, line=key.start_mark.line + 1)
        return found

    def get(self, key: str) -> Node:
        """What stands below a key; a missing node where nothing does."""
        return self.pairs().get(key) or Node(None, f"{self.key}.{key}".lstrip("."), self.file, self.line)

    def only(self, *keys: str) -> None:
        """Raise ConfigError for a key that is none of these."""
        for key, node in self.pairs().items():
            if key not in keys:
                raise node.wrong("there is no such key", f"there are: {', '.join(keys)}")

    def items(self) -> list[Node]:
        """Of a list; none where it is missing. Raises ConfigError."""
        if self.missing:
            return []
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.wrong("here should be a list")
        return [
            Node(each, f"{self.key}[{number}]", self.file, each.start_mark.line + 1)
            for number, each in enumerate(self.node.value)
        ]

    # -- what it says --------------------------------------------------------------------------------

    def text(self, default: object = _REQUIRED) -> str:
        """A word or a number as it is written. Raises ConfigError where there is none, and no default."""
        if self.missing:
            if isinstance(default, str):
                return default
            raise self.wrong("this key is missing" if self.node is None else "there is nothing here")
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.wrong("here should be one word")
        return str(self.node.value)

    def one_of(self, words: Sequence[str], default: object = _REQUIRED) -> str:
        """One of these words."""
        text = self.text(default)
        if text not in words:
            raise self.wrong(f"{text!r} is none of these", f"one of: {', '.join(words)}")
        return text

    def number(self, default: float | None = None, *, least: float) -> float:
        """A finite number."""
        if self.missing and default is not None:
            return default
        text = self.text()
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < least:
            raise self.wrong(f"{text!r} is no number from {least:g} on")
        return value

    def whole(self, default: int | None = None, *, least: int, most: int) -> int:
        """A whole number."""
        if self.missing and default is not None:
            return default
        text = self.text()
        if not text.isascii() or not text.isdecimal() or len(text) > 18 or not least <= int(text) <= most:
            raise self.wrong(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    def limit_pct(self, default: float | None = None) -> float:
        """A share of one CPU in percent; the word none is infinite."""
        if self.missing and default is not None:
            return default
        if self.text() == "none":
            return math.inf
        value = self.number(least=0.0)
        if not value:
            raise self.wrong("0 leaves nothing to measure with", "give a percentage of one CPU, or none for no limit")
        return value

    def truth(self, default: bool) -> bool:
        """``true`` or ``false``."""
        if self.missing:
            return default
        text = self.text()
        if text.lower() not in _TRUTHS:
            raise self.wrong(f"{text!r} is neither true nor false")
        return _TRUTHS[text.lower()]

    def _at(self, node: yaml.Node, key: str, *, line: int = 0) -> Node:
        return Node(node, f"{self.key}.{key}".lstrip("."), self.file, line or node.start_mark.line + 1)


class _Variable(yaml.ScalarNode):
    """What stands in the environment, and not in the file.

    Args:
        at: below which it would stand there.
    """

    def __init__(self, variable: str, text: str, at: Node) -> None:
        super().__init__("tag:yaml.org,2002:str", text, *_marks(at))
        self.variable = variable


class Document:
    """A file.

    Attributes:
        root: its outermost mapping.
    """

    def __init__(self, root: Node) -> None:
        self.root = root

    def override(self, keys: Sequence[str], environ: Mapping[str, str], variable: str) -> None:
        """What a variable of the environment says stands where these keys lead to. Raises ConfigError."""
        if environ.get(variable):
            at = self._below(keys[:-1])
            _put(at, keys[-1], _Variable(variable, environ[variable], at))

    def override_pairs(self, keys: Sequence[str], environ: Mapping[str, str], variable: str) -> None:
        """The same for a mapping, which a variable says as OpenTelemetry does: ``key=value,key=value``, the values
        quoted as in a URL. Raises ConfigError."""
        if not environ.get(variable):
            return
        at = self._below(keys[:-1])
        pairs = []
        for part in environ[variable].split(","):
            key, equals, value = part.partition("=")
            said = _Variable(variable, unquote(value.strip()), at)
            if not equals or not key.strip():
                raise Node(said, "", at.file, at.line).wrong("here should be key=value,key=value")
            pairs.append((_Variable(variable, key.strip(), at), said))
        _put(at, keys[-1], yaml.MappingNode("tag:yaml.org,2002:map", pairs, *_marks(at)))

    def _below(self, keys: Sequence[str]) -> Node:
        """The mapping to which these keys lead; it is made where there is none."""
        at = self.root
        for key in keys:
            below = at.get(key)
            if below.missing:
                _put(at, key, yaml.MappingNode("tag:yaml.org,2002:map", [], *_marks(at)))
                below = at.get(key)
            at = below
        at.pairs()
        return at


def _put(at: Node, key: str, node: yaml.Node) -> None:
    assert isinstance(at.node, yaml.MappingNode)
    kept = [(name, value) for name, value in at.node.value if name.value != key]
    at.node.value = [*kept, (yaml.ScalarNode("tag:yaml.org,2002:str", key, *_marks(at)), node)]


def _marks(at: Node) -> tuple[yaml.Mark, yaml.Mark]:
    assert at.node is not None
    return at.node.start_mark, at.node.end_mark


def load(path: Path) -> Document:
    """The file, of which nothing but its form has been looked at.

    Raises:
        ConfigError: it cannot be read, or is no YAML with keys and values.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror or error}", "give the agent's file with --config"
        ) from error
    if len(raw) > _MOST_BYTES:
        raise ConfigError(f"{path} is larger than {_MOST_BYTES >> 20} MiB", _HINT)
    try:
        node = yaml.compose(raw.decode(), yaml.SafeLoader)
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no YAML: not UTF-8 text", _HINT) from None
    except yaml.MarkedYAMLError as error:
        _unreadable(path, error)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} is no YAML: {error}".splitlines()[0], _HINT) from None
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}:1: here should be keys with values", _HINT)
    return Document(Node(node, "", path, 1))


def _unreadable(path: Path, error: yaml.MarkedYAMLError) -> NoReturn:
    mark = error.problem_mark or error.context_mark
    line = f":{mark.line + 1}" if mark else ""
    raise ConfigError(f"{path}{line}: {error.problem or error}", _HINT) from None
