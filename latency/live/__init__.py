"""The live view: what a measurement has seen by now, drawn while it goes on.

The measuring loop (``tracing.loop``) calls the view as its listener at each interval: ``feed`` asks each running
measurement for its ``Totals`` there, and ``ledger`` keeps what is drawn. ``top`` is the application by textual, for
which ``measuring`` runs the loop in a thread of its own; ``filling`` is the table that ``pylat -p PID`` shows on a
terminal. Only ``top``, ``grid`` and ``screens`` need textual.
"""
