"""The proof of a fleet: real servers, agents, Prometheus and VictoriaMetrics, in parts of minutes: ``script/fleet``."""
