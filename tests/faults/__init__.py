"""Faults on purpose: commands are killed, starved of disk and robbed of their data, and must lose nothing."""
