"""What the agent is told to do: one YAML file, of which each wrong word is told with its line and its key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from latency.agent.document import Document, Node, load
from latency.cpython.patterns import Matcher
from latency.errors import PylatError
from latency.recording import Options, Slower

DEFAULT_LISTEN = "127.0.0.1:9464"
"""The port that OpenTelemetry's Prometheus exporters have."""
LABELS = ("pid", "unit", "container", "pod")
"""What a rule can have its series told apart by, beside the rule itself."""

_ENGINES = ("auto", "handlers", "eval", "usdt", "watch")
_TEMPORALITIES = ("cumulative", "delta")
_MOST_RULES = 1000
_MOST_FUNCTIONS = 10_000


@dataclass(frozen=True)
class Wanted:
    """Which processes: all that is given has to hold. Text is a glob, and ``""`` for anything.

    Attributes:
        executable: the path that was executed, as the process sees it.
        command: the command line, joined by spaces.
        user: a name or a number.
        cgroup: a path of the process's cgroups: of a systemd unit, a container, a pod.
        parent: a PID; processes below it. None for anybody's.
    """

    executable: str = ""
    command: str = ""
    user: str = ""
    cgroup: str = ""
    parent: int | None = None


@dataclass(frozen=True)
class Rule:
    """Which functions of which processes, and how.

    Attributes:
        name: what the label ``service`` says.
        processes: whose.
        options: how each of them is measured, but for the limit.
        max_overhead_pct: of one CPU, for each process with its children; None for the one of the agent.
        labels: of ``LABELS``, by which its series are told apart.
        max_functions: so many have series of their own.
    """

    name: str
    processes: Wanted
    options: Options
    max_overhead_pct: float | None = None
    labels: tuple[str, ...] = ()
    max_functions: int = 200


@dataclass(frozen=True)
class Push:
    """Where and how metrics are sent by OTLP/HTTP.

    Attributes:
        endpoint: the whole URL.
        headers: further ones, an authorisation for example.
        scale: of exponential histograms.
    """

    endpoint: str
    interval_s: float = 60.0
    timeout_s: float = 10.0
    headers: Mapping[str, str] = field(default_factory=dict)
    delta: bool = False
    scale: int = 4


@dataclass(frozen=True)
class Config:
    """All of it.

    Attributes:
        host, port: where scrapes are answered.
        process_pct: of one CPU, what measuring one process with its children may cost; infinite for no limit.
        machine_pct: the same of all together.
        push: None where nothing is sent.
        slow_log: the file of slow calls, ``"-"`` for standard output, ``""`` for none.
        ended_s: how long series with labels of their own are kept once their processes have ended.
        scale: the schema of native histograms.
        rules: in the order in which they stand.
    """

    host: str
    port: int
    process_pct: float
    machine_pct: float
    push: Push | None
    slow_log: str
    ended_s: float
    scale: int
    rules: tuple[Rule, ...]


def read(path: Path, environ: Mapping[str, str]) -> Config:
    """The rules of a file.

    Args:
        environ: ``PYLAT_AGENT_LISTEN``, ``…_OTLP_ENDPOINT``, ``…_OTLP_HEADERS``, ``…_BUDGET_PROCESS`` and
            ``…_BUDGET_MACHINE`` stand above what the file says.

    Raises:
        ConfigError: it cannot be read, or is wrong; the message has the line and the key, or the variable.
    """
    document = load(path)
    document.override(("listen",), environ, "PYLAT_AGENT_LISTEN")
    document.override(("otlp", "endpoint"), environ, "PYLAT_AGENT_OTLP_ENDPOINT")
    document.override_pairs(("otlp", "headers"), environ, "PYLAT_AGENT_OTLP_HEADERS")
    document.override(("budget", "process"), environ, "PYLAT_AGENT_BUDGET_PROCESS")
    document.override(("budget", "machine"), environ, "PYLAT_AGENT_BUDGET_MACHINE")
    return _config(document)


def _config(document: Document) -> Config:
    root = document.root
    root.only("listen", "budget", "otlp", "slow_log", "ended_s", "scale", "rules")
    host, port = _address(root.get("listen"))
    budget = root.get("budget")
    budget.only("process", "machine")
    rules = root.get("rules")
    if rules.missing or not rules.items():
        raise rules.wrong("there are no rules", "give at least one: see docs/agent.md")
    if len(rules.items()) > _MOST_RULES:
        raise rules.wrong(f"there are more than {_MOST_RULES} rules", "join some of them by globs")
    found = [_rule(each) for each in rules.items()]
    for number, (node, rule) in enumerate(zip(rules.items(), found, strict=True)):
        if rule.name in [before.name for before in found[:number]]:
            raise node.get("name").wrong(f"two rules are called {rule.name!r}", "give each a name of its own")
    slow_log = root.get("slow_log").text("")
    return Config(
        host=host,
        port=port,
        process_pct=budget.get("process").limit_pct(5.0),
        machine_pct=budget.get("machine").limit_pct(float("inf")),
        push=_push(root.get("otlp")),
        slow_log=slow_log,
        ended_s=root.get("ended_s").number(300.0, least=0.0),
        scale=root.get("scale").whole(4, least=0, most=4),
        rules=tuple(found),
    )


def _address(node: Node) -> tuple[str, int]:
    text = node.text(DEFAULT_LISTEN)
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise node.wrong(f"{text!r} is no address", f"give HOST:PORT, as in {DEFAULT_LISTEN}")
    return host, int(port)


def _push(node: Node) -> Push | None:
    node.only("endpoint", "interval_s", "timeout_s", "headers", "temporality", "scale")
    if node.missing:
        return None
    endpoint = node.get("endpoint").text()
    if not endpoint.startswith(("http://", "https://")):
        raise node.get("endpoint").wrong(f"{endpoint!r} is no URL", "give http://HOST:4318/v1/metrics")
    return Push(
        endpoint=endpoint,
        interval_s=node.get("interval_s").number(60.0, least=1.0),
        timeout_s=node.get("timeout_s").number(10.0, least=0.1),
        headers={name: each.text() for name, each in node.get("headers").pairs().items()},
        delta=node.get("temporality").one_of(_TEMPORALITIES, "cumulative") == "delta",
        scale=node.get("scale").whole(4, least=0, most=4),
    )


def _rule(node: Node) -> Rule:
    node.only(
        *("name", "processes", "functions", "regex", "engine", "max_overhead", "labels", "max_functions"),
        *("slower", "slowest", "values", "offcpu", "self"),
    )
    name = node.get("name").text()
    if not name:
        raise node.get("name").wrong("a rule's name is empty", "it is what the label service says")
    processes = node.get("processes")
    processes.only("executable", "command", "user", "cgroup", "parent")
    if not processes.pairs():
        raise processes.wrong("a rule says nothing of its processes", "give an executable, a command, a user, a cgroup")
    limit = node.get("max_overhead")
    return Rule(
        name=name,
        processes=Wanted(
            executable=processes.get("executable").text(""),
            command=processes.get("command").text(""),
            user=processes.get("user").text(""),
            cgroup=processes.get("cgroup").text(""),
            parent=None if processes.get("parent").missing else processes.get("parent").whole(least=1, most=1 << 30),
        ),
        options=_options(node),
        max_overhead_pct=None if limit.missing else limit.limit_pct(),
        labels=tuple(each.one_of(LABELS) for each in node.get("labels").items()),
        max_functions=node.get("max_functions").whole(200, least=1, most=_MOST_FUNCTIONS),
    )


def _options(node: Node) -> Options:
    patterns = node.get("functions")
    if not patterns.items():
        raise patterns.wrong(
            "a rule has no functions", 'give patterns, as --func takes them: [handle_request, "Api.*"]'
        )
    slower = node.get("slower").text("")
    if slower:
        try:
            Slower.parse(slower)
        except ValueError as error:
            raise node.get("slower").wrong(str(error), "50ms, p99") from None
    options = Options(
        func=tuple(each.text() for each in patterns.items()),
        regex=node.get("regex").truth(False),
        engine=node.get("engine").one_of(_ENGINES, "auto"),
        children=True,
        slower=slower,
        slowest=node.get("slowest").whole(10, least=1, most=1000),
        values=node.get("values").truth(True),
        offcpu=node.get("offcpu").truth(False),
        self_time=node.get("self").truth(False),
        interval_s=1.0,  # slow calls are told in turns
    )
    try:
        Matcher.parse(options.func, regex=options.regex)
    except PylatError as error:
        raise patterns.wrong(str(error), error.hint) from None
    return options
