"""How far generated images are from real ones, and whether details move with their objects, as numbers that say what
they are.

gantrol.metrics.evaluate(model, data="faces.zip", metrics=["fid", "eqt", "sticking"], samples=1000)
"""

from gantrol.metrics.evaluate import Entry, evaluate, evaluate_entries

__all__ = ["Entry", "evaluate", "evaluate_entries"]
