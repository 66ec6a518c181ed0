"""The man page and the completions of shells, as the parser has them; they lie in ``share/``, as they are installed.

As a program it writes them anew: python -m tests.shared_files
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from latency import __version__
from latency.cli.arguments import make_parser

FOLDER = Path(__file__).resolve().parents[1] / "share"
MAN = "man/man1/pylat.1"
COMPLETIONS = {
    "bash": "bash-completion/completions/pylat",
    "zsh": "zsh/site-functions/_pylat",
    "fish": "fish/vendor_completions.d/pylat.fish",
}
_FILES = ("FILE", "PATH", "BASE", "HEAD", "-- PROGRAM ...")


def files() -> dict[str, str]:
    """Path below ``share/``, and what is in it."""
    return {MAN: man_page(), **{path: completion(shell) for shell, path in COMPLETIONS.items()}}


def man_page() -> str:
    """For ``man pylat``."""
    parser, _ = make_parser()
    examples, _, statuses = (parser.epilog or "").partition("\n\n")
    parser.epilog = None
    for each in (parser, *_commands(parser).values()):
        # a line as long as it is: where it is broken is man's affair, and not that of Python's version
        each.formatter_class = _Unbroken
        if each.epilog:
            each.description = f"{each.description} {each.epilog}"
    about = {
        "description": "exact latency of Python functions in live processes",
        "project_name": "pylat",
        "version": __version__,
        "manual_title": "User Commands",
    }
    page = Manpage(parser, _data=about)
    page.date = ""
    page.add_section("examples", ">", _unfilled(re.sub("^  ", "", examples.partition("\n")[2], flags=re.MULTILINE)))
    page.add_section("exit status", ">", _roff(statuses.partition(": ")[2].strip()))
    return str(page)


class _Unbroken(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100_000)


def _roff(text: str) -> str:
    return text.replace("\\", "\\\\").replace("-", "\\-").replace("\n'", "\n\\&'")


def _unfilled(text: str) -> str:
    return f".nf\n{_roff(text)}\n.fi"


def completion(shell: str) -> str:
    """For ``bash``, ``zsh`` or ``fish``."""
    parser, _ = make_parser()
    commands = _commands(parser)
    for each in commands.values():
        for action in each._actions:
            if action.metavar in _FILES:
                action.complete = shtab.FILE
            elif action.metavar == "DIR":
                action.complete = shtab.DIRECTORY
    # "pylat -p PID" is short for "pylat record -p PID"
    for action in commands["record"]._get_optional_actions():
        if "--help" not in action.option_strings:
            parser._add_action(action)
    return shtab.complete(parser, shell)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (found,) = _subparsers(parser)
    return dict(found.choices)


def _subparsers(parser: argparse.ArgumentParser) -> Iterator[argparse._SubParsersAction[argparse.ArgumentParser]]:
    yield from (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(text, encoding="utf-8")
