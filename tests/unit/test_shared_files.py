"""The man page and the completions are those of the parser, and shells and man can read them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from latency.cli.arguments import make_parser
from tests.requirements import require
from tests.shared_files import COMPLETIONS, FOLDER, MAN, files

COMPLETED_BY_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
$(complete -p pylat | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


def output(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def needs(program: str) -> None:
    require(shutil.which(program), f"{program} is not installed: script/setup --tests")


def test_the_files_are_those_of_the_parser() -> None:
    made = files()
    folders = {FOLDER / Path(name).parts[0] for name in made}
    there = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    assert {path.relative_to(FOLDER).as_posix(): path.read_text() for path in there} == made, (
        "python -m tests.shared_files writes them anew"
    )


def test_the_man_page_has_every_command_and_no_hidden_option() -> None:
    needs("groff")
    said = output("groff", "-ww", "-K", "utf8", "-man", "-T", "utf8", "-P", "-cbou", FOLDER / MAN)
    for command in make_parser()[1]:
        assert f"COMMAND 'pylat {command}'" in said
    assert "--max-overhead PCT" in said
    assert "--ebpf" not in said
    assert "pylat -p 4242 --func 'Api.*' -d 30 -m        every method" in said  # examples are not filled


def by_bash(*words: str) -> list[str]:
    return output("bash", "-c", COMPLETED_BY_BASH, "bash", FOLDER / COMPLETIONS["bash"], *words).split()


def by_fish(*words: str) -> list[str]:
    needs("fish")
    line = " ".join(words)
    said = output("fish", "--no-config", "-c", f"source {FOLDER / COMPLETIONS['fish']}; complete -C '{line}'")
    found = (line.partition("\t")[0] for line in said.splitlines())
    return [each for each in found if each.startswith(words[-1])]  # fish takes what has the letters in it, too


@pytest.mark.parametrize("complete", [by_bash, by_fish])
def test_a_shell_completes_commands_options_choices_and_files(complete: object, tmp_path: Path) -> None:
    assert callable(complete)
    assert complete("pylat", "co") == ["compare"]
    assert set(complete("pylat", "--max-")) == {"--max-loss", "--max-overhead"}  # short for record
    assert complete("pylat", "record", "--off") == ["--offcpu"]
    assert set(complete("pylat", "record", "--engine", "")) == {"auto", "usdt", "eval", "handlers", "watch"}
    assert complete("pylat", "record", "--eb") == []
    (tmp_path / "saved.json").touch()
    assert [Path(each).name for each in complete("pylat", "report", f"{tmp_path}/sa")] == ["saved.json"]


def test_zsh_can_read_its_completion() -> None:
    needs("zsh")
    assert (FOLDER / COMPLETIONS["zsh"]).read_text().startswith("#compdef pylat\n")
    assert output("zsh", "--no-rcs", "-n", FOLDER / COMPLETIONS["zsh"]) == ""
