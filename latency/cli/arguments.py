"""What can be typed. The words follow bcc's funclatency: its users are ours.

Nothing of what the commands need is imported here, but by the one command that is typed.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from latency import __version__
from latency.cli import values
from latency.cli.terminal import say, typed
from latency.cpython.sites import ENGINES
from latency.cpython.watch_points import ENGINE as WATCH
from latency.histogram import SCALE
from latency.report.names import escape

_EXAMPLES = """\
examples:
  pylat -p 4242 --func handle_request          measure until Ctrl-C, then report
  pylat -p 4242 --func 'Api.*' -d 30 -m        every method of Api, 30 s, in milliseconds
  pylat -p 4242 -d 10 --top 10                 every function, the busiest first
  pylat -p 4242 --func views.py:88 -i 5 -T     a report every 5 s, with the time
  pylat -p 4242 --func render --slower 50ms    and each slow call: its arguments, its stack
  pylat top -p 4242                            every function, live: a view to sort and open
  pylat functions -p 4242 'Api.*'              what is there to be measured
  pylat run --func render -o a.json -- python3 job.py
  pylat trace -p 4242 --func get --args --ret  calls one by one, as they happen
  pylat bench --func f --rounds 10 'python3 a.py' 'python3 b.py'
  pylat compare base.json head.json --fail p50:3%
  pylat -p 4242 --gc -d 30                     the garbage collector's pauses
  pylat check -p 4242                          can pylat measure this process, and how
  pylat probes -p 4242                         where its probes are, and the bytes there now

exit status: 0 done; 1 a regression; 2 wrong use, or it could not attach; 3 nothing was measured;
4 measured, but more was lost than --max-loss allows
"""


DEFAULT_LIMIT_PCT = 5.0
"""Of one CPU, with ``--engine auto``."""
_EXPORTED = ("openmetrics", "prometheus", "protobuf", "otlp")  # latency.export.formats.FORMATS
_COMPARISONS = ("text", "json", "markdown", "github", "benchmark")


@dataclass(frozen=True)
class _Command:
    """The function ``run`` of the command's own module, which is imported when it is called."""

    name: str

    def __call__(self, arguments: argparse.Namespace) -> int:
        status: int = importlib.import_module(f"latency.cli.{self.name}").run(arguments)
        return status


class _Parser(argparse.ArgumentParser):
    """One line for what is wrong, one for what to do."""

    def error(self, message: str) -> NoReturn:
        say(f"pylat: {escape(message)}")
        say(f"  {self.prog} --help lists what there is")
        self.exit(2)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line. ``run`` of the result is the command; ends the program where it is wrong."""
    parser, commands = make_parser()
    words = list(argv)
    # "pylat -p PID --func NAME" is short for "pylat record -p PID --func NAME".
    if words and words[0].startswith("-") and words[0] not in ("-h", "--help", "--version"):
        words.insert(0, "record")
    if words and not words[0].startswith("-") and words[0] not in commands:
        parser.error(f"there is no command {words[0]!r}")
    arguments = parser.parse_args(words)
    if not hasattr(arguments, "run"):
        parser.print_help()
        parser.exit(2)
    return arguments


def make_parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser, and the names of its commands."""
    parser = _Parser(
        prog="pylat",
        description="The exact latency of Python functions in live, unmodified CPython processes, by BPF.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pylat {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + "." * (text[-1] != "?"))
        added.set_defaults(run=_Command(name))
        added.add_argument("-v", "--verbose", action="store_true", help="say what is done where and why")
        return added

    _measuring(command("record", "measure a running process and report (the default command)"))
    _viewing(command("top", "the same, live: a view to sort, filter and open"))
    _listing(command("functions", "list the functions that live in a process"))
    _reporting(command("report", "render a saved recording again"))
    _running(command("run", "start a program under measurement"))
    _tracing(command("trace", "calls one by one, as they happen, with arguments and results"))
    _always(command("agent", "always on: processes by rules, for Prometheus and OpenTelemetry"))
    _benching(command("bench", "measure two commands in turns, and compare them"))
    _comparing(command("compare", "compare two recordings: the verdict for CI"))
    checking = command("check", "can pylat work here, on this process?")
    checking.add_argument("-p", "--pid", type=values.pid, metavar="PID", help="the process that you want to measure")
    checking.add_argument(
        "--cost", action="store_true", help="what it would cost: places the probes for 0.15 s at most"
    )
    checking.add_argument(
        "--func", type=typed, action="append", default=[], metavar="PATTERN", help="the cost of measuring these"
    )
    checking.add_argument("-r", "--regex", action="store_true", help="--func is a regular expression on the qualname")
    checking.add_argument(
        "--report", metavar="FILE", help="write what pylat's developers need to know of a build that is refused"
    )
    checking.add_argument("--engine", choices=("auto", *ENGINES), default="auto", help=argparse.SUPPRESS)
    _probing(command("probes", "the places in an interpreter that can be probed, and what is there now"))
    showing = command("demo", "start a small server workload and measure its handle_request")
    showing.add_argument("-d", "--duration", type=values.seconds, default=8.0, metavar="SECONDS", help="how long (8)")
    _apart(showing)
    _slow(showing)
    _look(showing)
    return parser, list(commands.choices)


def _measuring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p", "--pid", type=values.pid, action="append", required=True, help="whom to measure; repeatable"
    )
    _what(parser)
    parser.add_argument("-d", "--duration", type=values.seconds, metavar="SECONDS", help="how long; else until Ctrl-C")
    parser.add_argument(
        "-i", "--interval", type=values.seconds, metavar="SECONDS", help="a report each so many seconds"
    )
    _limits(parser)
    parser.add_argument("--ebpf", action="store_true", help=argparse.SUPPRESS)
    _look(parser)


def _limits(parser: argparse.ArgumentParser) -> None:
    """What may be lost, and what it may cost."""
    parser.add_argument(
        "--max-loss", type=values.percentage, default=0.1, metavar="PCT", help="exit with 4 if more was lost (0.1)"
    )
    parser.add_argument(
        "--max-overhead",
        type=values.limit,
        metavar="PCT",
        help="of one CPU and for each PID: beyond it the probes are away for part of the time, and the report says for "
        "how much; none for no limit (5 with --engine auto)",
    )
    parser.add_argument("--attach", choices=("auto", "multi", "perf"), default="auto", help=argparse.SUPPRESS)


def _tracing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-p", "--pid", type=values.pid, required=True, help="whom to trace")
    _patterns(parser)
    parser.add_argument("--args", action="store_true", help="the arguments of each call")
    parser.add_argument("--ret", action="store_true", help="what each call returns, and the text of exceptions")
    _secrets(parser)
    parser.add_argument("-d", "--duration", type=values.seconds, metavar="SECONDS", help="how long; else until Ctrl-C")
    parser.add_argument("-n", "--number", type=values.count, metavar="COUNT", help="until so many calls have ended")
    parser.add_argument("-j", "--json", action="store_true", help="one JSON object for each event")
    parser.add_argument("--chrome", metavar="FILE", help="write a trace that ui.perfetto.dev opens, instead of lines")
    units = parser.add_mutually_exclusive_group()
    units.add_argument("-u", "--microseconds", dest="unit", action="store_const", const="us", help="in microseconds")
    units.add_argument("-m", "--milliseconds", dest="unit", action="store_const", const="ms", help="in milliseconds")
    parser.add_argument(
        "--max-loss",
        type=values.percentage,
        default=0.1,
        metavar="PCT",
        help="exit with 4 if more events were lost (0.1)",
    )
    parser.add_argument("--buffer", type=values.buffer, default=16384, metavar="KB", help=argparse.SUPPRESS)
    parser.epilog = (
        "A tilde behind a value says that part of it was read after the event, and may have changed since; an ellipsis "
        "stands where a text was cut."
    )


def _viewing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p", "--pid", type=values.pid, action="append", required=True, help="whom to measure; repeatable"
    )
    _patterns(parser)
    _apart(parser)
    _slow(parser, kept=200)
    parser.add_argument("-o", "--output", metavar="FILE", help="save the recording at the end")
    parser.add_argument("--append", action="store_true", help="add the run to those in FILE")
    parser.add_argument("-d", "--duration", type=values.seconds, metavar="SECONDS", help="how long; else until q")
    parser.add_argument(
        "-i", "--interval", type=values.seconds, default=1.0, metavar="SECONDS", help="between two pictures (1)"
    )
    _limits(parser)
    _look(parser)


def _running(parser: argparse.ArgumentParser) -> None:
    _what(parser)
    parser.add_argument("--user", metavar="NAME", help="run the program as this user")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- PROGRAM ...", help="what to run")
    _look(parser)


def _always(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE", help="the rules: see docs/agent.md")
    parser.add_argument("--check", action="store_true", help="only look whether the file is right, and whom it means")


def _benching(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="'COMMAND A'", help="the base")
    parser.add_argument("b", metavar="'COMMAND B'", help="what is compared with it")
    parser.add_argument("--rounds", type=values.count, default=10, metavar="N", help="runs of each (10)")
    parser.add_argument("--confirm", action="store_true", help="measure again before saying that it is slower")
    _patterns(parser)
    parser.add_argument("-o", "--output", metavar="DIR", help="keep the recordings there")
    _verdict(parser)


def _comparing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", metavar="BASE", help="recording of one or more runs")
    parser.add_argument("head", metavar="HEAD", help="what is compared with it")
    _verdict(parser)


def _verdict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fail",
        action="append",
        default=[],
        metavar="GATE",
        help="p50:3%%, p90:5%% or mean:1ms; PATTERN=p50:3%% for some functions only; repeatable (p50:3%%)",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 3 where a gate cannot be decided")
    parser.add_argument(
        "--max-loss", type=values.percentage, default=0.1, metavar="PCT", help="warn if more was lost (0.1)"
    )
    parser.add_argument("--format", choices=_COMPARISONS, default="text", help="of the comparison (text)")
    parser.add_argument("--html", metavar="FILE", help="write it as a page, with the distributions drawn")
    parser.add_argument("--top", type=values.count, default=20, metavar="N", help="functions in the table (20)")


def _what(parser: argparse.ArgumentParser) -> None:
    """Options of every command that makes one recording."""
    _patterns(parser)
    _markers(parser)
    _apart(parser)
    _slow(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="save the recording")
    parser.add_argument("--append", action="store_true", help="add the run to those in FILE")


def _apart(parser: argparse.ArgumentParser) -> None:
    """What is told apart of each call's time."""
    parser.add_argument(
        "--offcpu", action="store_true", help="tell running from waiting and from garbage collection, for each function"
    )
    parser.add_argument(
        "--self", dest="self_time", action="store_true", help="and the time outside of other measured calls"
    )


def _slow(parser: argparse.ArgumentParser, kept: int = 10) -> None:
    """Which calls are told one by one."""
    parser.add_argument(
        "--slower",
        type=values.threshold,
        metavar="TIME",
        help="tell the slowest calls beyond this (50ms), or beyond each function's own percentile (p99), one by one: "
        "arguments, outcome, thread, stack",
    )
    parser.add_argument(
        "--slowest", type=values.kept, default=kept, metavar="N", help=f"how many of these are kept ({kept})"
    )
    parser.add_argument("--no-values", dest="values", action="store_false", help="read no arguments of slow calls")
    _secrets(parser)


def _secrets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--show-secrets", action="store_true", help="show what is called password, token and so on")


def _patterns(parser: argparse.ArgumentParser) -> None:
    """Which functions of which processes, and how."""
    parser.add_argument(
        "--func",
        type=typed,
        action="append",
        default=[],
        metavar="PATTERN",
        help="a name, a qualname (Api.get), a glob (Api.*), module:qualname or file.py:LINE; repeatable; "
        "without it, every function",
    )
    parser.add_argument("-r", "--regex", action="store_true", help="--func is a regular expression on the qualname")
    parser.add_argument("--children", action="store_true", help="and its child processes, those to come included")
    parser.add_argument("--engine", choices=("auto", *ENGINES, WATCH), default="auto", help="how to see the calls")


class _Key(argparse.Action):
    """Belongs to the pair of markers before it."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: object, option: str | None = None
    ) -> None:
        if not namespace.markers or ":" not in namespace.markers[-1] or " key=" in namespace.markers[-1]:
            parser.error("--key belongs to the --usdt before it, and there is none")
        namespace.markers = [*namespace.markers[:-1], f"{namespace.markers[-1]} key={value}"]


def _markers(parser: argparse.ArgumentParser) -> None:
    """USDT markers instead of functions. All go to one list, in the order in which they are given."""
    parser.set_defaults(markers=[])
    for name, text in (
        ("gc", "pauses of the garbage collector, by generation"),
        ("imports", "how long each module takes to import, with and without those that it imports"),
        ("audit", "audit events, counted by name"),
        ("lines", "executed lines, counted (CPython up to 3.10)"),
    ):
        parser.add_argument(f"--{name}", dest="markers", action="append_const", const=name, help=text)
    parser.add_argument(
        "--usdt",
        dest="markers",
        action="append",
        metavar="START,DONE",
        help="time between two USDT markers (provider:name, or file:provider:name); one alone is counted; repeatable",
    )
    parser.add_argument(
        "--key",
        action=_Key,
        metavar="argN",
        help="that START and DONE belong together which have the same argument; else the last START of the thread",
    )


def _look(parser: argparse.ArgumentParser, *exported: str) -> None:
    parser.add_argument("-T", "--timestamp", action="store_true", help="say when")
    units = parser.add_mutually_exclusive_group()
    units.add_argument("-u", "--microseconds", dest="unit", action="store_const", const="us", help="in microseconds")
    units.add_argument("-m", "--milliseconds", dest="unit", action="store_const", const="ms", help="in milliseconds")
    parser.add_argument("-F", "--full", action="store_true", help="a histogram for each function of the table")
    parser.add_argument("--top", type=values.count, default=20, metavar="N", help="functions in the table (20)")
    parser.add_argument("-j", "--json", dest="format", action="store_const", const="json", help="--format json")
    parser.add_argument(
        "--format", choices=("text", "json", "html", *exported), default="text", help="of the report (text)"
    )


def _probing(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [-h] [-v] [-j] (-p PID | PATH)"  # argparse before Python 3.14 does not say that
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("path", nargs="?", metavar="PATH", help="an interpreter's executable, or its libpython")
    whose.add_argument("-p", "--pid", type=values.pid, metavar="PID", help="a process: its memory is shown too")
    parser.add_argument("-j", "--json", action="store_true", help="as JSON")


def _listing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-p", "--pid", type=values.pid, required=True, help="whose functions")
    parser.add_argument(
        "pattern", nargs="?", type=typed, metavar="PATTERN", help="as --func takes it; else all of them"
    )
    parser.add_argument("-r", "--regex", action="store_true", help="PATTERN is a regular expression on the qualname")
    parser.add_argument("--children", action="store_true", help="and those of its child processes")
    parser.add_argument("-j", "--json", action="store_true", help="as JSON")


def _reporting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="what -o saved")
    _look(parser, *_EXPORTED)
    parser.add_argument(
        "--service", default="", metavar="NAME", help="what openmetrics, prometheus, protobuf and otlp call the program"
    )
    parser.add_argument(
        "--scale",
        type=int,
        choices=range(SCALE + 1),
        metavar="N",
        help=f"of exponential histograms: 2^N buckets to a power of two, as in the recording or wider ({SCALE})",
    )
    parser.add_argument("--delta", action="store_true", help="otlp: each run is what came since the one before")
