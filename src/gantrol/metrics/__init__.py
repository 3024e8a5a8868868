"""How far generated images are from real ones, whether details move with their objects, and whether controls do what
they say, as numbers that say what they are.

gantrol.metrics.evaluate(model, data="faces.zip", metrics=["fid", "pr", "eqt", "sticking", "control"], samples=1000)

evaluate.py             the way in; its docstring says how the work is spread over the files beside it
features.py             feature networks by name or path; networks/: each of them
moments.py, frechet.py, kernel_distance.py, inception_score.py, neighbours.py
                        FID, KID, Inception score, precision and recall, density and coverage, of features
path_length.py          PPL; constant_noise.py: noise inputs, redrawn
equivariance.py         EQ-T, EQ-T_frac, EQ-R; image_transforms.py: moving and turning finished images
sticking.py             the same question for any generator
spectra.py              average power spectra; spectra_sources.py, spectra_pictures.py
control.py              asked against read values: control_requests.py, control_observer.py, control_report.py,
                        control_pictures.py; separability.py: pairs that share a latent group against others
perceptual.py           distances between two pictures
"""

from gantrol.metrics.control import measure_control
from gantrol.metrics.control_report import ControlReport
from gantrol.metrics.entry import Entry
from gantrol.metrics.evaluate import evaluate, evaluate_entries
from gantrol.metrics.processes import Processes

__all__ = ["ControlReport", "Entry", "Processes", "evaluate", "evaluate_entries", "measure_control"]
