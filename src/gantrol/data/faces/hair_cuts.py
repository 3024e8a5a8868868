"""The table of cuts: how each lies, how long it is, and how its strands run.

A cut is flowing hair: every strand starts at the parting (a line from `parting[0]` at the front to `parting[1]` at the
crown; a point where both are equal), follows the skull at a distance and, where it `hangs`, falls from there. Azimuths
are degrees around the head: 0 is the face, 90 the ear, 180 the nape. Lengths are dm, points canonical (see `scene`).
"""

from __future__ import annotations

from dataclasses import dataclass

Profile = tuple[tuple[float, float], ...]
Point = tuple[float, float, float]

# |azimuth| in degrees -> height in dm where natural hair begins
HAIRLINE: Profile = ((0, 0.665), (10, 0.675), (20, 0.69), (30, 0.66), (40, 0.58), (48, 0.47), (56, 0.37), (62, 0.30),
                     (67, 0.19), (71, 0.0), (75, -0.17), (80, -0.19), (85, 0.05), (92, 0.16), (104, 0.14),
                     (112, -0.25), (122, -0.52), (150, -0.70), (180, -0.74))  # fmt: skip
_FRINGE: Profile = ((0, 0.27), (24, 0.25), (36, 0.20), (44, 0.08), (50, -0.10))
_CROWN: Point = (0.0, 1.0, -1.02)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One cut; see the module's text for the words used."""

    side: float
    """Thickness at the sides and the back."""
    top: float
    """Thickness at the top."""
    front: float = 0.0
    """Thickness added above the forehead."""
    taper: float = 0.25
    """Height above the hairline at which full thickness is reached; 0 keeps a blunt edge."""
    parting: tuple[Point, Point] = (_CROWN, _CROWN)
    parted: bool = False
    """The scalp shows along the parting."""
    gate: float = 0.0
    """|azimuth| within which nothing falls over the face; 0 closes the hair all around."""
    hangs: bool = False
    """Falls straight down from where the head is widest."""
    ends: Profile = ()
    """(|azimuth|, height) of the lower end; empty: the hairline."""
    ragged: float = 0.02
    """By how much neighbouring locks differ in length."""
    inward: float = 0.0
    """Share by which hanging ends turn in."""
    bumps: float = 0.0
    """Irregularity of the surface."""
    bald: float = 0.0
    """Degrees around the top of the forehead without hair."""
    combed: float = 0.0
    """|azimuth| within which strands run from the hairline to the parting, not away from it."""
    length: float = 0.0
    """Of the strands that one sees; 0: to the lower end."""
    lift: float = 0.03
    """How far the ends of strands stand off the surface."""
    mess: float = 0.015
    """How far strands stray sideways."""
    clump: float = 0.6
    """Share by which strands of a lock come together towards their ends."""
    wave: tuple[float, float] = (0.0, 1.0)
    """Amplitude and length of waves sideways."""
    curl: tuple[float, float] = (0.0, 1.0)
    """Radius and length of one turn of curls."""
    stray: float = 0.04
    """Share of single hairs that stand off."""
    inset: float = 0.05
    """How far the edge of the surface lies behind the ends of the strands."""
    density: float = 1.0
    """Strands drawn, relative to other cuts."""
    bristles: bool = False
    """Too short to hide the scalp."""
    globe: float = 0.0
    """Radius in dm of the ball that the hair fills out; 0: none."""
    knot: str = ""
    """What the hair is tied to: "bun", "tail" or nothing."""


CUTS: dict[str, Cut] = {
    "receding": Cut(side=0.055, top=0.04, bald=48, taper=0.3, length=0.30, lift=0.015, inset=0.10, stray=0.03,
                    mess=0.02),
    "buzz": Cut(side=0.015, top=0.018, taper=0, length=0.035, lift=0.010, inset=9, stray=0, density=4, clump=0,
                bristles=True),
    "short": Cut(side=0.05, top=0.15, front=-0.02, taper=0.36, combed=38, length=0.34, lift=0.055, mess=0.035,
                 bumps=0.014, clump=0.8, stray=0.02),
    "quiff": Cut(side=0.05, top=0.17, front=0.17, taper=0.12, combed=62, length=0.62, lift=0.04, mess=0.025,
                 clump=0.8, parting=((0, 1.0, -1.1), (0, 1.0, -1.1)), bumps=0.012, inset=0.04),
    "side_part": Cut(side=0.075, top=0.15, front=0.03, taper=0.26, gate=50, length=0.8, lift=0.02,
                     parting=((0.30, 0.62, 0.08), (0.16, 1.0, -1.0)), parted=True),
    "bangs": Cut(side=0.12, top=0.15, hangs=True, taper=0, ragged=0.05, lift=0.02, inset=0.08, inward=0.10,
                 ends=(*_FRINGE, (57, -0.30), (66, -0.46), (82, -0.55), (125, -0.68), (180, -0.80)), bumps=0.008),
    "bob": Cut(side=0.14, top=0.15, hangs=True, gate=56, taper=0.12, ragged=0.05, inward=0.16, lift=0.02,
               parting=((0.18, 0.66, 0.10), (0.08, 1.0, -0.95)), parted=True, inset=0.12, bumps=0.008,
               ends=((50, -0.80), (70, -0.86), (180, -0.94))),
    "long": Cut(side=0.13, top=0.13, hangs=True, gate=58, taper=0.12, ragged=0.08, inward=-0.12, lift=0.03,
                parting=((0.0, 0.66, 0.12), (0, 1.0, -0.9)), parted=True, ends=((50, -1.9), (180, -2.2)), inset=0.2,
                bumps=0.010),
    "long_bangs": Cut(side=0.13, top=0.15, hangs=True, taper=0, ragged=0.05, inward=-0.10, lift=0.02, inset=0.08,
                      ends=(*_FRINGE, (55, -0.5), (60, -1.9), (180, -2.2)), bumps=0.008),
    "wavy": Cut(side=0.17, top=0.16, hangs=True, gate=58, taper=0.12, ragged=0.08, inward=-0.16, lift=0.03,
                parting=((-0.14, 0.66, 0.11), (-0.05, 1.0, -0.95)), parted=True, wave=(0.055, 0.62), bumps=0.02,
                ends=((50, -1.45), (180, -1.7)), inset=0.25, clump=0.75),
    "curly": Cut(side=0.21, top=0.20, hangs=True, gate=50, taper=0.2, ragged=0.10, lift=0.03, bumps=0.03,
                 parting=((0.1, 0.68, 0.08), (0, 1.0, -0.9)), curl=(0.050, 0.24), ends=((50, -0.42), (180, -0.75)),
                 inset=0.12, length=0.8, clump=0.92, stray=0.05, mess=0.03, density=0.8),
    "afro": Cut(side=0.27, top=0.27, taper=0.34, bumps=0.02, length=0.16, lift=0.04, curl=(0.022, 0.06), mess=0.05,
                clump=0, stray=0.06, density=1.2, inset=0.03, globe=1.15),
    "bun": Cut(side=0.03, top=0.04, taper=0.15, combed=180, parting=((0, 1.0, -1.1), (0, 1.0, -1.1)), knot="bun",
               length=0.7, lift=0.010, mess=0.008, clump=0.4, stray=0.04, inset=0.04),
    "ponytail": Cut(side=0.03, top=0.045, taper=0.15, combed=180, parting=((0, 0.86, -1.38), (0, 0.86, -1.38)),
                    knot="tail", length=0.8, lift=0.012, mess=0.01, clump=0.5, stray=0.04, inset=0.04),
}  # fmt: skip
