"""The BPF program of a measurement as text, for those who want to read it (``pylat --ebpf``)."""

from __future__ import annotations

from latency import resources
from latency.cpython.interpreter import Target
from latency.cpython.patterns import Matcher
from latency.recording import Options
from latency.tracing.kernel.sources import whole
from latency.tracing.probes.loading import Loader
from latency.tracing.probes.parts import parts_of


def program_text(target: Target, options: Options) -> str:
    """What a measurement by probes would compile, with its flags as ``#define``s before it."""
    matcher = Matcher.parse(options.func, regex=options.regex) if options.func else None
    flags = Loader(target, options, matcher, parts_of(target, options)).flags()
    pairs = (flag.removeprefix("-D").partition("=") for flag in flags)
    defines = "".join(f"#define {name} {value}\n" for name, _, value in pairs)
    return defines + whole(resources.directory("bpf") / "pylat.bpf.c")
