"""Recordings for other programs: OpenMetrics, Prometheus' text and protobuf, OpenTelemetry's protocol.

Pure: recordings in, bytes out. ``families`` turns recordings into metrics with values, of which ``metrics`` says the
names; ``text``, ``protobuf`` and ``otlp`` write these. The libraries for that are an extra of the package
(``pylat-bpf[export]``): ``formats`` says so where they are missing.
"""
