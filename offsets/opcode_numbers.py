"""Writes ``opcodes.json``: the opcode numbers of each version that has opcode handlers (3.11 and later).
And ``opcode_caches.json``: how many units of inline cache follow an opcode, where it is not none.

    offsets/opcode_numbers.py PYTHON [PYTHON …]          # interpreters of the versions to write
    offsets/opcode_numbers.py --check PYTHON [PYTHON …]  # exit with 1 where a file says otherwise

Sources: ``opcode.h`` of the interpreter's headers for 3.11 and 3.12, its module ``_opcode_metadata`` from 3.13 on.
Both know the specialised and instrumented opcodes too. The caches are those of its module ``opcode``; a specialised or
instrumented opcode has as many as the one that it stands for. Other versions in the files are left as they are.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).with_name("opcodes.json")
CACHES_FILE = Path(__file__).with_name("opcode_caches.json")
_WIDTH = 118
_NOT_OPCODES = re.compile(r"NB_|HAVE_ARGUMENT$|MIN_(PSEUDO|INSTRUMENTED)_OPCODE$|ENABLE_SPECIALIZATION$")
_ASK = """
import json, opcode, sys, sysconfig
caches = opcode._inline_cache_entries
if isinstance(caches, list):
    caches = {opcode.opname[number]: units for number, units in enumerate(caches)}
try:
    import _opcode_metadata as known
    numbers = {**known.opmap, **known._specialized_opmap}
    families = known._specializations
except ImportError:
    numbers, families = None, opcode._specializations
caches = {**dict(caches), **{name: caches.get(of, 0) for of, names in families.items() for name in names}}
print(json.dumps([sys.version_info[:2], sysconfig.get_path("include"), numbers, caches]))
"""


def opcode_numbers(python: list[str]) -> tuple[str, dict[str, int], dict[str, int]]:
    """(minor version, opcode name to number, opcode name to units of cache) that this command's interpreter says."""
    answer = subprocess.run([*python, "-c", _ASK], check=True, capture_output=True, text=True).stdout
    (major, minor), include, numbers, caches = json.loads(answer)
    if numbers is None:
        text = (Path(include) / "opcode.h").read_text()
        numbers = {name: int(value) for name, value in re.findall(r"^#define (\w+)\s+(\d+)\s*$", text, re.MULTILINE)}
    real = {name: number for name, number in numbers.items() if number < 256 and not _NOT_OPCODES.match(name)}
    numbers = dict(sorted(real.items(), key=lambda pair: (pair[1], pair[0])))
    return f"{major}.{minor}", numbers, {name: n for name in numbers if (n := _cache_of(name, caches))}


def _cache_of(name: str, caches: dict[str, int]) -> int:
    return caches.get(name) or caches.get(name.replace("INSTRUMENTED_", ""), 0)


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
    files = FILE, CACHES_FILE
    tables = [json.loads(file.read_text()) if file.exists() else {} for file in files]
    differences = 0
    for argument in arguments[check:]:
        version, *found = opcode_numbers(argument.split())
        for file, table, values in zip(files, tables, found, strict=True):
            if table.get(version) != values:
                print(f"{version}: {'differs from' if check else 'written to'} {file.name}")
                differences += 1
            table[version] = values
    if check:
        return int(differences > 0)
    for file, table in zip(files, tables, strict=True):
        file.write_text(written(table))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
