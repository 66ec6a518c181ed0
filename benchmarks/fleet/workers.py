"""Two machines with an agent each: gunicorn whose workers are replaced on the one, an asyncio server on the other.

Each request says how long it wants its call to take, by a log-normal distribution; the servers write down how long it
took. Prometheuses scrape both agents once a second, and both push to VictoriaMetrics. The quantiles of the rates over
both machines are compared with those of what the servers wrote down, and all counts.

What the servers write down has what probes take in it, and pylat's latencies have not. So the asyncio server, which
makes some hundred calls for a request while others wait, has an interpreter of its own, as it would on another machine:
the probes of the other agent are in every process that maps the same file.
"""

from __future__ import annotations

import asyncio
import http.client
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from benchmarks.fleet.machines import (
    METRIC,
    QUANTILES,
    Machine,
    agent,
    buckets_off,
    gunicorn,
    logged_ns,
    machines,
    own_interpreter,
    rules,
    whole,
)
from benchmarks.keeping import TARGETS, Goal, Part, Settings, Values, table
from tests.agents import RunningAgent
from tests.lab import cache_directory, servers
from tests.servers import Prometheus, command, free_port, prometheus, until, victoria_metrics

_REQUESTS = 20_000  # to each server
_WORKERS, _CLIENTS, _REPLACED_AFTER = 4, 8, 200
_AT_ONCE = 20  # requests to the asyncio server: its loop sleeps in between, else what the probes take delays the others
_MEDIAN_US, _SPREAD = 3000, 0.6  # of the log-normal distribution
_SLOWER = 3
"""So many times as long take calls of the asyncio server. Not far longer: rate() extrapolates the two by up to a scrape
more or less, and where the median lies between two humps with nothing in between, 1 % of that moves it by 2 %."""
_SCRAPES = 10
_BUCKETS, _SHARE = 1.0, 0.02
_WINDOW = "10m"


def _waits_us(seed: int, count: int, median_us: int) -> list[int]:
    return (np.random.default_rng(seed).lognormal(np.log(median_us), _SPREAD, count)).astype(int).tolist()


def _ask(port: int, wait_us: int) -> bool:
    """False where the worker had its last request before: it was not taken."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("GET", f"/{wait_us}")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _load_gunicorn(port: int, waits_us: list[int]) -> None:
    def client(waits: list[int]) -> None:
        for wait_us in waits:
            while not _ask(port, wait_us):
                time.sleep(0.01)

    with ThreadPoolExecutor(_CLIENTS) as clients:
        list(clients.map(client, [waits_us[number::_CLIENTS] for number in range(_CLIENTS)]))


def _load_asyncio(port: int, waits_us: list[int]) -> None:
    import aiohttp

    async def load() -> None:
        left = iter(waits_us)

        async def client(http_client: aiohttp.ClientSession) -> None:
            for wait_us in left:
                async with http_client.get(f"http://127.0.0.1:{port}/{wait_us}") as answer:
                    await answer.read()

        async with aiohttp.ClientSession() as http_client:
            await asyncio.gather(*[client(http_client) for _ in range(_AT_ONCE)])

    asyncio.run(load())


@contextmanager
def _asyncio_server(folder: Path, machine: Machine) -> Iterator[tuple[int, Path]]:
    logs = folder / "asyncio"
    logs.mkdir(parents=True)
    port = free_port()
    python, environ = own_interpreter(folder, "python-asyncio")
    words = machine.command([python, str(TARGETS / "fleet_asyncio.py"), str(port)])
    with subprocess.Popen(words, env={**environ, "PYLAT_LOGS": str(logs)}) as process:
        try:
            yield port, logs
        finally:
            process.kill()


def _prometheuses(settings: Settings) -> list[str]:
    servers.make(cache_directory(), servers.NEWEST)
    found = []
    for suite in ("own", servers.SUITE, servers.NEWEST):
        try:
            command("prometheus", suite)
            found.append(suite)
        except BaseException as error:  # pytest's way to say that it is not there
            settings.progress(f"workers: {error}")
    return found


def measure(settings: Settings) -> Values:
    """One load, which everybody sees."""
    requests = _REQUESTS // 10 if settings.small else _REQUESTS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pylat-fleet-")))
        one, two = stack.enter_context(machines("machine-one", "machine-two"))
        wsgi, wsgi_logs = stack.enter_context(
            gunicorn(folder, _WORKERS, one, "--max-requests", str(_REPLACED_AFTER), "--max-requests-jitter", "50")
        )
        aio, aio_logs = stack.enter_context(_asyncio_server(folder, two))
        for port in (wsgi, aio):
            until(lambda port=port: True if _ask(port, 100) else None, "the server answers")
        (folder / "victoria").mkdir()
        victoria, endpoint = stack.enter_context(victoria_metrics(folder / "victoria"))
        otlp = {"endpoint": endpoint, "interval_s": 1}
        ports = [free_port(), free_port()]
        of_one = rules(folder / "one.yaml", ports[0], "shop", f"*gunicorn*{folder}*", ["fleet_wsgi:handle"], otlp=otlp)
        of_two = rules(folder / "two.yaml", ports[1], "feed", "*fleet_asyncio.py*", ["__main__:handle"], otlp=otlp)
        agents = [
            stack.enter_context(agent(of_one, ports[0], one)),
            stack.enter_context(agent(of_two, ports[1], two)),
        ]
        for each in agents:
            each.wait("pylat_agent_targets", 1)
            each.wait("pylat_agent_targets", 1, state="measured")
        scraping: dict[str, Prometheus] = {}
        for suite in _prometheuses(settings):
            place = folder / f"prometheus-{suite}"
            place.mkdir()
            jobs = {f"agent{number}": (port, ["/metrics"]) for number, port in enumerate(ports)}
            server = stack.enter_context(prometheus(suite, place, jobs, "native-histograms"))
            until(lambda server=server: _both(server), "the empty histograms are scraped")
            scraping[".".join(map(str, server.version))] = server
        before = [_calls(each) for each in agents]
        settings.progress(f"workers: {requests:,} requests to each, Prometheus {', '.join(scraping)}")
        logged_before = len(logged_ns(wsgi_logs, aio_logs))
        began_s = time.monotonic()
        loads = [
            threading.Thread(target=_load_gunicorn, args=(wsgi, _waits_us(1, requests, _MEDIAN_US))),
            threading.Thread(target=_load_asyncio, args=(aio, _waits_us(2, requests, _SLOWER * _MEDIAN_US))),
        ]
        for load in loads:
            load.start()
        for load in loads:
            load.join()
        took_s = time.monotonic() - began_s
        settings.progress(f"workers: the load took {took_s:.0f} s")
        return {
            "requests": requests,
            "load_s": took_s,
            "replaced": len(list(wsgi_logs.glob("*.log"))) - _WORKERS,
            **_compared(agents, scraping, victoria, wsgi_logs, aio_logs, before, logged_before),
        }


def _both(server: Prometheus) -> bool | None:
    return True if len(server.query(METRIC)) == 2 else None


def _calls(running: RunningAgent) -> float:
    return running.value(f"{METRIC}_count", function="handle") or 0.0


def _compared(
    agents: list[RunningAgent],
    scraping: dict[str, Prometheus],
    victoria: Prometheus,
    wsgi_logs: Path,
    aio_logs: Path,
    before: list[float],
    logged_before: int,
) -> Values:
    """Everybody's counts and quantiles beside the truth, which is without what was asked before the agents came."""
    logs = [logged_ns(wsgi_logs), logged_ns(aio_logs)]
    assert not any(before)
    times_s = np.concatenate([each[1:] for each in logs]) / 1e9  # each server was asked once before
    expected = float(sum(map(len, logs)) - logged_before)
    truth = {str(q): float(np.quantile(times_s, q)) for q in QUANTILES}
    counts = {"the agents": whole(lambda: sum(map(_calls, agents)), expected, "all calls are counted")}
    found: dict[str, dict[str, float]] = {}
    scrapes: dict[str, float] = {}
    for name, server in scraping.items():
        who = f"Prometheus {name}"
        counts[who] = whole(
            lambda server=server: server.number(f"sum(histogram_count({METRIC}))"), expected, "it is scraped"
        )
        scrapes[who] = server.number(f"min(count_over_time(up[{_WINDOW}]))")
        found[who] = {
            str(q): server.number(f"histogram_quantile({q}, sum(rate({METRIC}[{_WINDOW}])))") for q in QUANTILES
        }
    who = "VictoriaMetrics, by OTLP"
    counts[who] = whole(lambda: victoria.number(f"sum({METRIC}_count)", nocache="1"), expected, "it is pushed")
    found[who] = {
        str(q): victoria.number(
            f"histogram_quantile({q}, sum by (vmrange) (increase({METRIC}_bucket[{_WINDOW}])))", nocache="1"
        )
        for q in QUANTILES
    }
    lost = sum(each.value("pylat_lost_events_total") or 0.0 for each in agents)
    return {"truth": truth, "expected": expected, "counts": counts, "found": found, "scrapes": scrapes, "lost": lost}


def tables(values: Values) -> str:
    """Everybody's quantiles beside those of the servers' own logs."""
    truth = values["truth"]
    rows = [
        ["the servers' own logs", f"{values['expected']:,.0f}", *(f"{1e3 * each:.3f} ms" for each in truth.values())]
    ]
    for who, found in values["found"].items():
        off = [f"{1e3 * found[q]:.3f} ms ({found[q] / truth[q] - 1:+.2%})" for q in truth]
        rows.append([who, f"{values['counts'][who]:,.0f}", *off])
    text = (
        f"{values['requests']:,} requests to each server in {values['load_s']:.0f} s; {values['replaced']} workers of "
        f"gunicorn were replaced; {values['lost']:.0f} events lost.\n\n"
    )
    return text + table(("", "calls", *(f"p{100 * float(q):g}" for q in truth)), rows)


def goals(values: Values) -> list[Goal]:
    """The quantiles and the counts."""
    truth, expected = values["truth"], values["expected"]
    offs = [
        (abs(found[q] / truth[q] - 1), buckets_off(found[q], truth[q]), f"{who}, p{100 * float(q):g}")
        for who, found in values["found"].items()
        for q in truth
    ]
    share, buckets, where = max(offs)
    wrong = [f"{who} {count:,.0f} of {expected:,.0f}" for who, count in values["counts"].items() if count != expected]
    least = min(values["scrapes"].values(), default=0.0)
    return [
        Goal(
            "quantiles of rates over two machines",
            f"within a bucket and {_SHARE:.0%}",
            f"{share:.2%}, {buckets:.2f} buckets at most ({where})",
            share <= _SHARE and max(each[1] for each in offs) <= _BUCKETS,
        ),
        Goal("calls, once the load has ended", "exact", "; ".join(wrong) or "all", not wrong),
        Goal("scrapes that were made of it", f"at least {_SCRAPES}", f"{least:.0f}", least >= _SCRAPES),
    ]


PART = Part("fleet_workers", "Two machines, seen by real servers", measure, tables, goals=goals)
