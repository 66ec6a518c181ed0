"""A real Prometheus takes what pylat exports, and reads the quantiles out of it that the calls have."""

from __future__ import annotations

from collections.abc import Iterator
from math import log2
from pathlib import Path

import numpy as np
import pytest

from latency.export import otlp
from latency.export.formats import export
from latency.export.protobuf import CONTENT_TYPE
from latency.export.text import OPENMETRICS_TYPE, PROMETHEUS_TYPE
from latency.recording import Recording
from tests.exported import BEGAN, everything, measured, recording
from tests.requirements import require
from tests.servers import PROMETHEUSES, Prometheus, post, prometheus, serving, victoria_metrics

pytestmark = pytest.mark.xdist_group("servers")

METRIC = "pylat_function_duration_seconds"
FORMATS = {"protobuf": CONTENT_TYPE, "openmetrics": OPENMETRICS_TYPE, "prometheus": PROMETHEUS_TYPE}
_SEED = np.random.default_rng(18)
# of two workers, one of them slower than the other
WORKERS = [(_SEED.lognormal(mean, 1.0, 5000) * 1e6).astype(int).tolist() for mean in (1.0, 3.0)]
ALL_S = np.concatenate(WORKERS) / 1e9


def runs() -> list[Recording]:
    return [recording(measured(values_ns=values_ns)) for values_ns in WORKERS]


@pytest.fixture(scope="module", params=PROMETHEUSES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes both workers, and a run with everything in it, in each format."""
    pages = {
        f"/{to}/{number}": (kind, export([run], to, version="1", service=f"worker{number}"))
        for to, kind in FORMATS.items()
        for number, run in enumerate([*runs(), everything()])
    }
    folder = tmp_path_factory.mktemp("prometheus")
    with serving(pages) as port:
        jobs = {to: (port, [f"/{to}/{number}" for number in range(3)]) for to in FORMATS}
        with prometheus(request.param, folder, jobs, "native-histograms,exemplar-storage") as found:
            require(found.version >= (2, 40), "a Prometheus that has native histograms: 2.40 or newer")
            yield found


def workers(to: str) -> str:
    return f'group="{to}",service=~"worker[01]"'


def test_every_page_was_taken(server: Prometheus) -> None:
    targets = server.api("targets")["activeTargets"]
    assert {each["lastError"] for each in targets} == {""}
    assert {each["health"] for each in targets} == {"up"}


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_a_quantile_over_native_histograms_is_that_of_all_calls_within_a_bucket(server: Prometheus, q: float) -> None:
    found = server.number(f"histogram_quantile({q}, sum({METRIC}{{{workers('protobuf')}}}))")
    exact = float(np.quantile(ALL_S, q, method="inverted_cdf"))
    assert abs(log2(found / exact)) <= 1 / 16


@pytest.mark.parametrize("to", ["openmetrics", "prometheus"])
@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_a_quantile_over_classic_histograms_is_that_of_all_calls_within_a_bucket(
    server: Prometheus, q: float, to: str
) -> None:
    found = server.number(f"histogram_quantile({q}, sum by (le) ({METRIC}_bucket{{{workers(to)}}}))")
    exact = float(np.quantile(ALL_S, q, method="inverted_cdf"))
    assert abs(log2(found / exact)) <= 1 / 2


@pytest.mark.parametrize("to", ["openmetrics", "prometheus"])
def test_counts_and_sums_are_exact(server: Prometheus, to: str) -> None:
    native, classic = (workers(each) for each in ("protobuf", to))
    assert server.number(f"histogram_count(sum({METRIC}{{{native}}}))") == len(ALL_S)
    assert server.number(f"sum({METRIC}_count{{{classic}}})") == len(ALL_S)
    total_s = server.number(f"histogram_sum(sum({METRIC}{{{native}}}))")
    assert total_s == server.number(f"sum({METRIC}_sum{{{classic}}})") == pytest.approx(ALL_S.sum(), rel=1e-12)


def test_the_share_of_calls_up_to_a_bound_of_the_grid_is_exact(server: Prometheus) -> None:
    share = server.number(f"histogram_fraction(0, {2**-6}, sum({METRIC}{{{workers('protobuf')}}}))")
    assert share == pytest.approx(float(np.mean(ALL_S <= 2**-6)), rel=1e-9)


@pytest.mark.parametrize("suite", PROMETHEUSES)
def test_an_empty_native_histogram_is_a_native_one(suite: str, tmp_path: Path) -> None:
    """So its first calls are an increase, and not lost."""
    empty = export([recording(measured(values_ns=[]))], "protobuf", version="1")
    with (
        serving({"/": (CONTENT_TYPE, empty)}) as port,
        prometheus(suite, tmp_path, {"empty": (port, ["/"])}, "native-histograms") as fresh,
    ):
        assert fresh.number(f"histogram_count({METRIC})") == 0
        assert not fresh.query(f"{METRIC}_bucket")


@pytest.mark.parametrize("to", ["protobuf", "openmetrics"])
def test_slow_calls_come_as_exemplars(server: Prometheus, to: str) -> None:
    """Each, to servers that take those of native histograms; others take the longest of each classic bucket."""
    each_is_taken = to == "protobuf" and server.version >= (2, 50)
    name = METRIC if to == "protobuf" else f"{METRIC}_bucket"
    found = server.api("query_exemplars", query=name, start=str(BEGAN.timestamp()), end=str(BEGAN.timestamp() + 60))
    told = [each for series in found if series["seriesLabels"]["group"] == to for each in series["exemplars"]]
    assert {each["labels"]["tid"] for each in told} == ({"7", "8"} if each_is_taken else {"7"})
    assert {each["labels"]["pid"] for each in told} == {"1"}


def test_all_formats_say_the_same_of_each_counter_and_gauge(server: Prometheus) -> None:
    everything_else = f'{{__name__=~"pylat_.*",__name__!~"{METRIC}.*|.*_(active|self)_seconds.*",service="worker2"}}'
    told: dict[str, dict[str, str]] = {to: {} for to in FORMATS}
    for series in server.query(everything_else):
        labels = {name: value for name, value in series["metric"].items() if name not in ("job", "instance", "group")}
        if not labels["__name__"].endswith("_created"):
            told[series["metric"]["group"]][str(sorted(labels.items()))] = series["value"][1]
    assert told["protobuf"] == told["openmetrics"] == told["prometheus"]
    assert len(told["protobuf"]) > 30


@pytest.fixture(scope="module")
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """VictoriaMetrics, to which both workers were sent by OpenTelemetry's protocol."""
    with victoria_metrics(tmp_path_factory.mktemp("victoria")) as (server, url):
        for number, run in enumerate(runs()):
            body = export([run], "otlp", version="1", service=f"worker{number}")
            assert post(url, otlp.CONTENT_TYPE, body) // 100 == 2
        yield server


AT = str((BEGAN.timestamp()) + 11)


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_a_quantile_over_what_came_by_opentelemetry_is_that_of_all_calls_within_a_bucket(
    victoria: Prometheus, q: float
) -> None:
    found = victoria.number(f"histogram_quantile({q}, sum by (vmrange) ({METRIC}_bucket))", time=AT, nocache="1")
    exact = float(np.quantile(ALL_S, q, method="inverted_cdf"))
    assert abs(log2(found / exact)) <= 1 / 16


def test_counts_that_came_by_opentelemetry_are_exact(victoria: Prometheus) -> None:
    assert victoria.number(f"sum({METRIC}_count)", time=AT, nocache="1") == len(ALL_S)
    assert victoria.number(f"sum({METRIC}_bucket)", time=AT, nocache="1") == len(ALL_S)
    assert victoria.number(f"sum({METRIC}_sum)", time=AT, nocache="1") == pytest.approx(ALL_S.sum(), rel=1e-12)
