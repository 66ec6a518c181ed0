"""One HTML file that holds all that it needs: what is to be shown as JSON, and the script and the style that show it.

Nothing in it comes from elsewhere, and nothing may: the Content-Security-Policy knows this one script and this one
style by their hashes, and forbids all else. The script makes elements and texts, never markup; text of a target is in
the JSON alone, in which no tag can begin or end.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

SCRIPTS = ("base.js", "plots.js", "table.js", "report.js", "compare.js", "start.js")
STYLE = "page.css"
# What could end the script element, begin a comment in it, or be a line's end to some readers.
_ESCAPED = str.maketrans({letter: f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"})


def assemble(title: str, shown: dict[str, Any], details: Sequence[Any], plain: str) -> str:
    """The page.

    Args:
        title: safe text.
        shown: what the script shows; JSON, its text safe.
        details: what it shows of what is unfolded; JSON. It is packed, where nobody can search it, so it must not hold
            text of a target.
        plain: what stands there for a browser without scripts; safe text.
    """
    script = '"use strict";\n(() => {\n' + "\n".join(map(_resource, SCRIPTS)) + "})();\n"
    style = _resource(STYLE)
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    packed = base64.b64encode(zlib.compress(_json(details).encode(), 9)).decode()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main></main>\n"
        f"<noscript><pre>{html.escape(plain)}</pre></noscript>\n"
        f'<script type="application/json" id="shown">{_json(shown).translate(_ESCAPED)}</script>\n'
        f'<script type="text/plain" id="details">{packed}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
