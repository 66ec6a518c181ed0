"""Each format is read back by those who define it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from latency.cli import main
from latency.errors import MissingLibrary, UsageError
from latency.export.client_model import TYPES
from latency.export.formats import FORMATS, export
from latency.export.metrics import HISTOGRAM, INFO, METRICS
from latency.recording import Recording, dump
from tests import metrics_page
from tests.exported import BEGAN, HANDLE, VALUES_NS, everything, measured, recording
from tests.prometheus_messages import families
from tests.servers import PROMETHEUSES, command
from tests.unit.test_export import HOSTILE

DURATION = "pylat_function_duration_seconds"


def text(run: Recording, to: str = "openmetrics", **more: Any) -> str:
    return export([run], to, version="1.2.3", **more).decode()


def samples(written: str, name: str) -> list[Any]:
    return [each for family in read_openmetrics(written) for each in family.samples if each.name == name]


def test_openmetrics_has_each_metric_as_the_table_says() -> None:
    found = {family.name: family for family in read_openmetrics(text(everything()))}
    assert set(found) == {metric.name for metric in METRICS}
    for metric in METRICS:
        family = found[metric.name]
        assert (family.type, family.unit, family.documentation) == (metric.type, metric.unit, metric.meaning)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
            suffixes = ("_bucket", "_count", "_sum", "_created") if metric.type == HISTOGRAM else ("",)
            assert sample.name in {metric.sample + suffix for suffix in suffixes} | {f"{metric.name}_created"}


def test_what_is_kept_of_a_page_is_that_of_this_histogram_alone() -> None:
    """Messages are kept from one page to the next, by the object; another one with another end is another message."""
    run = recording(measured(HANDLE, VALUES_NS))
    longer = replace(run, functions=(measured(HANDLE, [*VALUES_NS, 10**9]),))
    later = replace(run, started_at=BEGAN + timedelta(seconds=5))
    pages = [export([each], "protobuf", version="1") for each in (run, longer, later, run)]
    assert pages[0] == pages[3]
    assert len({*pages}) == 3
    counted = [families(page)[DURATION].metric[0].histogram for page in pages]
    assert [each.sample_count - len(VALUES_NS) for each in counted] == [0, 1, 0, 0]
    assert counted[2].created_timestamp.seconds - counted[0].created_timestamp.seconds == 5
    coarse = families(export([run], "protobuf", version="1", scale=1))[DURATION].metric[0].histogram
    assert (coarse.schema, counted[0].schema) == (1, 4)


def test_the_page_of_metrics_says_what_is_exported(repository: Path) -> None:
    page = (repository / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == metrics_page.written(page)
    rows = {(name, kind) for name, kind in metrics_page.listed(page) if not name.startswith("pylat_agent_")}
    said = {(family.name, family.type) for family in read_openmetrics(text(everything()))}
    suffixes = {"counter": "_total", "info": "_info"}
    assert {(name + suffixes.get(kind, ""), kind) for name, kind in said} == rows
    labels = set(re.findall(r"`(\w+)`", re.sub(r"(?s).*?## Labels(.*?)## .*", r"\1", page)))
    assert {label for metric in METRICS for label in metric.labels} <= labels


def test_prometheus_text_has_the_same_but_for_exemplars_and_creation() -> None:
    old = [sample for family in read_prometheus(text(everything(), "prometheus")) for sample in family.samples]
    new = [
        sample._replace(exemplar=None)
        for family in read_openmetrics(text(everything()))
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]
    assert sorted(map(repr, old)) == sorted(map(repr, new))


def test_counts_are_exact() -> None:
    written = text(everything())
    (count, stream) = (sample.value for sample in samples(written, f"{DURATION}_count"))
    assert (count, stream) == (len(VALUES_NS), 3)
    assert samples(written, f"{DURATION}_sum")[0].value == sum(VALUES_NS) / 1e9
    assert samples(written, f"{DURATION}_bucket")[61].labels["le"] == "+Inf"
    assert samples(written, f"{DURATION}_bucket")[61].value == len(VALUES_NS)


def test_a_slow_call_is_the_exemplar_of_its_bucket_with_time_value_and_thread() -> None:
    (told,) = (each for each in samples(text(everything()), f"{DURATION}_bucket") if each.exemplar)
    assert told.exemplar.labels == {"pid": "1", "tid": "7"}
    assert told.exemplar.value == VALUES_NS[-1] / 1e9
    assert abs(float(told.exemplar.timestamp) - BEGAN.timestamp() - 3) < 1e-5
    assert told.exemplar.value <= float(told.labels["le"]) < 1.5 * told.exemplar.value


def test_series_say_since_when_they_count() -> None:
    assert {each.value for each in samples(text(everything()), f"{DURATION}_created")} == {BEGAN.timestamp()}


@pytest.mark.parametrize("to", ["openmetrics", "prometheus"])
def test_a_hostile_name_comes_back_as_one_label(to: str) -> None:
    run = recording(measured(replace(measured().function, qualname=HOSTILE)))
    reader = read_openmetrics if to == "openmetrics" else read_prometheus
    names = {
        sample.labels["function"]
        for family in reader(text(run, to, service=HOSTILE))
        for sample in family.samples
        if "function" in sample.labels
    }
    assert names == {'\\x1b[31m\\x0a"}\\ \\u202e\\udcff\\u2028'}


@pytest.mark.parametrize("suite", PROMETHEUSES)
def test_promtool_has_no_complaint(suite: str) -> None:
    words = [*command("promtool", suite), "check", "metrics"]
    for run in (everything(), recording(measured(values_ns=[]))):
        page = export([run], "prometheus", version="1", service=HOSTILE)
        done = subprocess.run(words, input=page, capture_output=True, check=False)
        assert (done.stdout + done.stderr).decode() == ""
        assert done.returncode == 0


def test_protobuf_has_the_same_series_as_the_text() -> None:
    found = families(export([everything()], "protobuf", version="1.2.3"))
    assert set(found) == {metric.sample for metric in METRICS}
    told = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in read_openmetrics(text(everything()))
        for sample in family.samples
    }
    for metric in METRICS:
        family = found[metric.sample]
        assert (family.help, family.unit) == (metric.meaning, metric.unit)
        assert family.type == TYPES["gauge" if metric.type == INFO else metric.type]
        for each in family.metric:
            labels = tuple(sorted((pair.name, pair.value) for pair in each.label))
            if metric.type == HISTOGRAM:
                assert each.histogram.sample_count == told.pop((f"{metric.name}_count", labels))
                assert each.histogram.sample_sum == told.pop((f"{metric.name}_sum", labels))
            else:
                assert max(each.counter.value, each.gauge.value) == told.pop((metric.sample, labels))
    assert {name.rpartition("_")[2] for name, _ in told} == {"bucket", "created"}


def test_protobuf_says_since_when_and_the_slow_calls_twice() -> None:
    first = families(export([everything()], "protobuf", version="1"))[DURATION].metric[0].histogram
    assert first.created_timestamp.ToDatetime(timezone.utc) == BEGAN
    assert [each.value for each in first.exemplars] == [VALUES_NS[-1] / 1e9, VALUES_NS[-2] / 1e9]
    (told,) = (bucket.exemplar for bucket in first.bucket if bucket.HasField("exemplar"))
    assert told == first.exemplars[0]


def request(**more: Any) -> Any:
    return ExportMetricsServiceRequest.FromString(export([everything()], "otlp", version="1.2.3", **more))


def otlp(**more: Any) -> Iterator[tuple[Any, Any]]:
    (resource,) = request(**more).resource_metrics
    (scope,) = resource.scope_metrics
    assert (scope.scope.name, scope.scope.version) == ("pylat", "1.2.3")
    for metric in scope.metrics:
        yield metric, getattr(metric, metric.WhichOneof("data"))


def attributes(of: Any) -> dict[str, str | int]:
    return {each.key: each.value.int_value or each.value.string_value for each in of}


def test_otlp_has_each_metric_with_its_unit() -> None:
    there = {metric.name: (metric.unit, metric.description) for metric, _ in otlp()}
    assert there == {metric.otel: (metric.ucum, metric.meaning) for metric in METRICS if metric.type != INFO}


@pytest.mark.parametrize("delta", [False, True])
def test_otlp_says_of_what_time_and_temporality_it_is(delta: bool) -> None:
    began_ns = int(BEGAN.timestamp()) * 10**9
    wanted = metrics_pb2.AGGREGATION_TEMPORALITY_DELTA if delta else metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE
    for metric, data in otlp(delta=delta):
        for point in data.data_points:
            assert point.time_unix_nano == began_ns + 10 * 10**9
            if metric.WhichOneof("data") != "gauge":
                assert point.start_time_unix_nano == began_ns
                assert data.aggregation_temporality == wanted


def test_otlp_has_the_attributes_of_the_conventions() -> None:
    (resource,) = request(service="shop").resource_metrics
    about = attributes(resource.resource.attributes)
    assert about["service.name"] == "shop"
    assert (about["process.runtime.name"], about["process.runtime.version"]) == ("cpython", "3.11.2")
    first = next(data for metric, data in otlp() if metric.name == "pylat.function.duration").data_points[0]
    assert attributes(first.attributes) == {
        "code.function.name": "handle",
        "code.file.path": "/srv/app.py",
        "code.line.number": 10,
        "pylat.kind": "function",
    }
    assert attributes(first.exemplars[0].filtered_attributes) == {"process.pid": 1, "thread.id": 7}
    assert first.exemplars[0].as_double == VALUES_NS[-1] / 1e9


def test_otlp_names_an_unknown_service_after_its_program() -> None:
    (resource,) = request().resource_metrics
    assert attributes(resource.resource.attributes)["service.name"] == "unknown_service:python3.11"


def test_each_run_is_a_resource_of_its_own() -> None:
    written = export([recording(), recording()], "otlp", version="1")
    resources = ExportMetricsServiceRequest.FromString(written).resource_metrics
    assert len({attributes(each.resource.attributes)["service.instance.id"] for each in resources}) == 2


def test_moments_are_whole_nanoseconds() -> None:
    run = replace(recording(), started_at=datetime(2026, 11, 30, 4, 0, 0, 123457, timezone.utc))
    (resource,) = ExportMetricsServiceRequest.FromString(export([run], "otlp", version="1")).resource_metrics
    (point,) = resource.scope_metrics[0].metrics[0].exponential_histogram.data_points
    assert point.start_time_unix_nano % 10**9 == 123_457_000
    assert point.time_unix_nano - point.start_time_unix_nano == 10 * 10**9


@pytest.mark.parametrize("to", ["protobuf", "otlp"])
def test_there_is_no_finer_scale_than_what_is_recorded(to: str) -> None:
    with pytest.raises(UsageError, match="scale 5"):
        export([recording()], to, version="1", scale=5)


@pytest.fixture
def saved(tmp_path: Path) -> str:
    dump([everything()], tmp_path / "run.json")
    return str(tmp_path / "run.json")


@pytest.mark.parametrize("to", FORMATS)
def test_a_saved_recording_is_exported(saved: str, to: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["report", saved, "--format", to, "--service", "shop"]) == 0
    out, err = capfdbinary.readouterr()
    assert err == b""
    assert b"shop" in out
    assert b"pylat.function.duration" in out if to == "otlp" else DURATION.encode() in out


def test_the_formats_that_can_be_typed_are_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    shown = "".join(capsys.readouterr().out.split())
    assert f"{{text,json,html,{','.join(FORMATS)}}}" in shown


def test_a_recording_without_calls_is_exported_and_ends_with_3(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    dump([recording(measured(values_ns=[]))], tmp_path / "run.json")
    assert main(["report", str(tmp_path / "run.json"), "--format", "openmetrics"]) == 3
    assert capfdbinary.readouterr()[0].endswith(b"# EOF\n")


@pytest.mark.parametrize("option", [["--service", "shop"], ["--scale", "2"], ["--delta"]])
def test_what_belongs_to_other_programs_is_not_taken_by_a_report(
    saved: str, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", saved, *option]) == 2
    assert "belong to the formats for other programs" in capsys.readouterr().err


class Terminal(TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("to", ["protobuf", "otlp"])
def test_binary_is_not_written_to_a_terminal(
    saved: str, to: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = BytesIO()
    monkeypatch.setattr(sys, "stdout", Terminal(shown))
    assert main(["report", saved, "--format", to]) == 2
    assert shown.getvalue() == b""
    assert f"{to} is binary, and this is a terminal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("to", "module", "library"),
    [
        ("openmetrics", "prometheus_client", "prometheus-client"),
        ("otlp", "opentelemetry.proto", "opentelemetry-proto"),
        ("protobuf", "google.protobuf", "protobuf"),
    ],
)
def test_a_library_that_is_not_installed_is_named(
    to: str, module: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith((module, "latency.export.")) and name != "latency.export.formats":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingLibrary, match=f"needs {library}") as caught:
        export([recording()], to, version="1")
    assert "pylat-bpf[export]" in caught.value.hint
