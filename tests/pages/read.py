"""What a page is made of, read as a browser reads it, without one."""

from __future__ import annotations

import base64
import json
import zlib
from html.parser import HTMLParser
from typing import Any


class Read(HTMLParser):
    """Which tags there are with their attributes, and the text of those that hold text alone."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self.texts.append("")
        self.inside = True

    def handle_endtag(self, _tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[-1] += data

    def text(self, **wanted: str) -> str:
        """Of the one element that has this tag, or this id."""
        ((text),) = [
            text
            for (tag, attributes), text in zip(self.tags, self.texts, strict=True)
            if wanted in ({"tag": tag}, {"id": attributes.get("id")})
        ]
        return text

    @property
    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text(id="shown"))
        return found

    @property
    def details(self) -> list[Any]:
        found: list[Any] = json.loads(zlib.decompress(base64.b64decode(self.text(id="details"))))
        return found
