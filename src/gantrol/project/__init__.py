"""Projection: the latent of a given picture, so that a generator can draw, edit and animate it.

    from gantrol.project import project, read_target, tune
    model = gantrol.load("faces")
    target = read_target("me.jpg", model)
    projection = project(model, target)
    image = projection.render(model)                 # [1, C, H, W]; with edited ws: projection.render(model, ws)
    model = tune(model, projection, target)          # draws the picture more closely there

- `search`: gradient descent on w or w+, noise and pose (`project`).
- `tuning`: a copy of the generator that draws the picture more closely (`tune`).
- `projection`: what is found, rendered, saved and loaded (`Projection`).
- `target`: the picture, and how far images are from it (`read_target`, `fit_target`, `psnr`).
- `synthesis`: images of a synthesis network some of whose buffers are replaced, differentiably.
"""

from gantrol.project.projection import LOSSES, Projection
from gantrol.project.search import Projector, project
from gantrol.project.synthesis import Step
from gantrol.project.target import fit_target, psnr, read_target
from gantrol.project.tuning import Tuner, tune

__all__ = ["LOSSES", "Projection", "Projector", "Step", "Tuner", "fit_target", "project", "psnr", "read_target", "tune"]
