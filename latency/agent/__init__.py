"""Always on: processes by rules, measured as they come and go, and their metrics for whoever asks.

``config`` reads the rules; ``processes`` looks who is there; ``fleet`` begins and ends measurements, ``totals`` adds up
what they saw; ``server`` answers scrapes and ``push`` sends to a collector; ``agent`` drives all that.
"""
