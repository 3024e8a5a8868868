"""Timings of gantrol on this machine: `python -m benchmarks`. Nothing in the package imports this."""
