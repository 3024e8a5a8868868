"""How far generated images are from real ones, whether details move with their objects, and whether controls do what
they say, as numbers that say what they are.

gantrol.metrics.evaluate(model, data="faces.zip", metrics=["fid", "eqt", "sticking", "control"], samples=1000)
"""

from gantrol.metrics.control import measure_control
from gantrol.metrics.control_report import ControlReport
from gantrol.metrics.evaluate import Entry, evaluate, evaluate_entries

__all__ = ["ControlReport", "Entry", "evaluate", "evaluate_entries", "measure_control"]
