"""Built-in portraits: labelled renders of a parametric 3-D head.

labels.py     the attributes; (dataset seed, index) -> label row
shape.py      identity, age, gender, weight -> coefficients of the head's basis
pose.py       expression weights, head pose, gaze
hair.py       cuts as sheets of strands over the skull
materials.py  skin, lips, brows, eyes, teeth, hair, cloth
light.py      key light, ambient, highlight
raster.py     camera, z-buffer, anti-aliasing
render.py     label row -> picture
dataset.py    many pictures -> dataset zip, with worker processes
head.py       the shipped asset (built by scripts/build_head_asset.py)
"""

from gantrol.data.faces.dataset import make_dataset
from gantrol.data.faces.labels import ATTRIBUTES, Attribute, sample_row
from gantrol.data.faces.render import render

__all__ = ["ATTRIBUTES", "Attribute", "make_dataset", "render", "sample_row"]
