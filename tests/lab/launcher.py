"""Lets a program made by cx_Freeze be started as an interpreter is: ``[options] -c TEXT | -m MODULE | FILE [...]``.

Such a program runs ``run`` of the module ``__init__NAME`` and knows no options. Runs on 3.8 and later.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys

_WITH_VALUE = ("-W", "-X")


def run(_name: str) -> None:
    """As ``python3`` would; of the options only ``-B`` does anything."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    arguments = sys.argv[1:]
    while arguments and arguments[0].startswith("-") and arguments[0] not in ("-c", "-m"):
        option = arguments.pop(0)
        sys.dont_write_bytecode |= option == "-B"
        if option in _WITH_VALUE:
            arguments.pop(0)
    if not arguments:
        raise SystemExit("neither -c, -m nor a file")
    names = vars(sys.modules["__main__"])
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        sys.path.insert(0, "")
        exec(compile(arguments[1], "<string>", "exec"), names)
    else:
        sys.argv = arguments
        sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
        names["__file__"] = arguments[0]
        with open(arguments[0], "rb") as script:
            exec(compile(script.read(), arguments[0], "exec"), names)
