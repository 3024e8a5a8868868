"""Built-in portraits: labelled renders of people who do not exist.

What a picture is made from
    attributes.py, labels.py    the attributes; (dataset seed, index) -> label row
    counterfactual.py           rows from other rows: something changed, sweeps
    head.py                     the shipped head (built by scripts/build_head_asset.py)
    shape.py                    identity, ancestry, age, gender, weight -> the head's shape
    pose.py                     expression weights -> facial actions; head and shoulders; gaze
    landmarks.py                68 points of the 300-W markup
What stands before the camera
    scene.py                    pieces of geometry and how they follow the head
    hair.py                     hair_cuts.py (the table), hair_sheet.py (the geometry), hair_strands.py (single hairs)
    facial_hair.py              brows, stubble, beard
    strands.py                  curves bound to a surface, lit and drawn
    clothes.py                  garment.py (the cuts), drape.py (laying cloth on a body)
    accessories.py              glasses.py, spectacles.py (their geometry); hats.py, hat_shapes.py
    backdrop.py                 what stands behind
How it is seen
    camera.py                   focal length, aligned framing
    raster.py                   which surface each sample sees
    light.py, visibility.py     key light, sky and ground; what stands in their way (scripts/build_visibility.py)
    palette.py                  a person's colours
    skin.py, wrinkles.py        skin; eyes.py: eyes, lashes, teeth, tongue
    shot.py, render.py          one picture: from label row to pixels
    buffers.py, channels.py     depth, normals, segmentation, landmarks
    styles/                     painted instead of photographed
dataset.py                      many pictures -> dataset zip, with worker processes
"""

from gantrol.data.faces.dataset import make_dataset
from gantrol.data.faces.labels import ATTRIBUTES, Attribute, sample_row
from gantrol.data.faces.render import render

__all__ = ["ATTRIBUTES", "Attribute", "make_dataset", "render", "sample_row"]
