"""Writes ``opcodes.json``: the opcode numbers of each version that has opcode handlers (3.11 and later).

    offsets/opcode_numbers.py PYTHON [PYTHON …]          # interpreters of the versions to write
    offsets/opcode_numbers.py --check PYTHON [PYTHON …]  # exit with 1 where the file says otherwise

Sources: ``opcode.h`` of the interpreter's headers for 3.11 and 3.12, its module ``_opcode_metadata`` from 3.13 on.
Both know the specialised and instrumented opcodes too. Other versions in the file are left as they are.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).with_name("opcodes.json")
_WIDTH = 118
_NOT_OPCODES = re.compile(r"NB_|HAVE_ARGUMENT$|MIN_(PSEUDO|INSTRUMENTED)_OPCODE$|ENABLE_SPECIALIZATION$")
_ASK = """
import json, sys, sysconfig
try:
    import _opcode_metadata as known
    numbers = {**known.opmap, **known._specialized_opmap}
except ImportError:
    numbers = None
print(json.dumps([sys.version_info[:2], sysconfig.get_path("include"), numbers]))
"""


def opcode_numbers(python: list[str]) -> tuple[str, dict[str, int]]:
    """(minor version, opcode name to number) of the interpreter that this command runs."""
    answer = subprocess.run([*python, "-c", _ASK], check=True, capture_output=True, text=True).stdout
    (major, minor), include, numbers = json.loads(answer)
    if numbers is None:
        text = (Path(include) / "opcode.h").read_text()
        numbers = {name: int(value) for name, value in re.findall(r"^#define (\w+)\s+(\d+)\s*$", text, re.MULTILINE)}
    real = {name: number for name, number in numbers.items() if number < 256 and not _NOT_OPCODES.match(name)}
    return f"{major}.{minor}", dict(sorted(real.items(), key=lambda pair: (pair[1], pair[0])))


def written(table: dict[str, dict[str, int]]) -> str:
    """The file's text: one version after the other, several opcodes to a line."""
    versions = []
    for version, numbers in sorted(table.items(), key=lambda pair: int(pair[0].split(".")[1])):
        lines, line = [], "   "
        for place, (name, number) in enumerate(numbers.items()):
            part = f' "{name}": {number}' + ("," if place < len(numbers) - 1 else "")
            if len(line) + len(part) > _WIDTH:
                lines.append(line)
                line = "   "
            line += part
        versions.append(f'  "{version}": {{\n' + "\n".join([*lines, line]) + "\n  }")
    return "{\n" + ",\n".join(versions) + "\n}\n"


def main(arguments: list[str]) -> int:
    """Write or check. Each argument is a command, split at blanks: ``"chroot DIR /usr/bin/python3.14"``."""
    check = arguments[:1] == ["--check"]
    table: dict[str, dict[str, int]] = json.loads(FILE.read_text()) if FILE.exists() else {}
    differences = 0
    for argument in arguments[check:]:
        version, numbers = opcode_numbers(argument.split())
        if table.get(version) != numbers:
            print(f"{version}: {'differs from' if check else 'written to'} {FILE.name}")
            differences += 1
        table[version] = numbers
    if check:
        return int(differences > 0)
    FILE.write_text(written(table))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
