"""The tree of errors. Each carries a ``hint``: what the user can do about it.

    PylatError                       exit status 2
    ├── UsageError                   the command line or a pattern is wrong
    │   └── ConfigError              the agent's file is wrong
    ├── HostError                    pylat cannot work on this machine
    │   ├── MissingBcc               the distribution's bcc is not importable
    │   ├── MissingLibrary           a library of an extra is not importable
    │   ├── NoPrivilege              not root, and not the capabilities either
    │   ├── NoDescriptors            pylat may not open as many files as it needs
    │   ├── KernelTooOld             a kernel feature is missing
    │   ├── CompileError             the BPF program did not compile or load
    │   └── AttachError              a probe could not be placed
    ├── TargetError                  this process cannot be measured
    │   ├── NoSuchProcess            no such PID
    │   ├── TargetGone               the process ended, or its PID now is another's
    │   ├── ReadFault                an address of the process cannot be read
    │   ├── NotCPython               there is no CPython in it
    │   ├── UnsupportedBuild         a CPython that pylat does not know, or cannot prove
    │   └── MalformedImage           an ELF file that cannot be right
    ├── RecordingError               a recording cannot be read or written
    └── NothingMeasured              exit status 3
        └── NoFunctionMatches        exit status 2: the pattern matches no live function

Errors are raised where they are known, and printed once, in ``latency.cli.main``.
"""

from __future__ import annotations


class PylatError(Exception):
    """Base of all errors that pylat raises on purpose.

    Args:
        message: one line, without a final full stop, that says what is wrong.
        hint: one line that says what to do about it, or ``""``.
        detail: longer text (a compiler's output, say) that only ``-v`` shows.
    """

    exit_status = 2

    def __init__(self, message: str, hint: str = "", *, detail: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.detail = detail


class UsageError(PylatError):
    """The command line, a pattern or an option's value is wrong."""


class ConfigError(UsageError):
    """The agent's file cannot be read, or says what cannot be."""


class HostError(PylatError):
    """pylat cannot work on this machine, whatever the target."""


class MissingBcc(HostError):
    """The distribution's ``bcc`` Python package cannot be imported."""


class MissingLibrary(HostError):
    """A library that only some commands need cannot be imported."""


class NoPrivilege(HostError):
    """Neither root nor the capabilities that BPF and perf events need."""


class NoDescriptors(HostError):
    """The limit of open files is reached, pylat's or the machine's: that says nothing of the target."""


class KernelTooOld(HostError):
    """The running kernel lacks a feature that pylat needs."""


class CompileError(HostError):
    """bcc could not compile or load the BPF program; ``detail`` is its output."""


class AttachError(HostError):
    """The kernel refused a probe."""


class TargetError(PylatError):
    """This process cannot be measured."""


class NoSuchProcess(TargetError):
    """There is no process with this PID."""


class TargetGone(TargetError):
    """The process ended, or its PID was taken by another process."""


class ReadFault(TargetError):
    """An address range of the target is not, or no longer, readable."""


class NotCPython(TargetError):
    """No CPython interpreter is mapped into the process."""


class UnsupportedBuild(TargetError):
    """A CPython whose version or build pylat does not know, or could not prove."""


class MalformedImage(TargetError):
    """An ELF file whose headers, notes or tables cannot be right."""


class RecordingError(PylatError):
    """A recording cannot be read, written or merged."""


class NothingMeasured(PylatError):
    """The measurement ended with nothing to report."""

    exit_status = 3


class NoFunctionMatches(NothingMeasured):
    """No live function matches the pattern: found before anything was measured."""

    exit_status = 2
