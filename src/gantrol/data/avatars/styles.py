"""What each avatar style can draw, in words that all styles share.

A DiceBear style is a set of parts (hair, mouth, eyes, …), each with numbered or named drawings, and a set of named
colours. The tables below say which of our attributes a style has and which of its drawings show a value: `mouth=smile`
is five drawings in one style and two in another, sorted by looking at them. Drawings that show nothing we have a
word for (a pacifier, a third eye) are left out.

Only styles that draw people are listed, and only those under CC0 or CC BY: the name of the licence here is compared
with the installed package before anything is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

CC0 = "CC0 1.0"
CC_BY = "CC BY 4.0"

Drawings = Mapping[str, tuple[str, ...]]
"""For each part of the style the names of the drawings that may show a value."""


@dataclass(frozen=True, kw_only=True)
class AvatarStyle:
    """One style: what it offers and how its pictures are framed."""

    licence: str
    """CC0 or CC_BY, as the style's definition states it."""
    focus: tuple[float, float]
    """The point of the drawing that comes to the middle of the image, as shares of its width and height."""
    scale: float
    """How much the drawing is enlarged around that point at `zoom=1`."""
    facing: int = 1
    """1: the drawing looks to the image's right, or straight ahead; -1: to the left."""
    parts: Mapping[str, Mapping[str, Drawings]]
    """For each attribute, for each of its values, the drawings that show it; a part that is named for another value
    of the attribute only is hidden. The first value is the default."""
    colors: Mapping[str, tuple[str, ...]]
    """For each colour attribute the colours of the style that take its value."""
    own: tuple[str, ...] = ()
    """Parts that `identity` chooses among all their drawings."""
    hidden: tuple[str, ...] = ()
    """Parts that are never shown."""
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Options of the style that are the same in every picture."""
    recolored: Mapping[str, tuple[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    """Parts that the artist drew in a colour shared with others, and that we give their own: part to (old, new)."""
    kept: tuple[str, ...] = ()
    """Drawings of recoloured parts that stay as they are, because what they show is not hair."""
    has_overlays: bool = False
    """True where the artist lightens skin and hair with an overlay, which would make the colours differ from their
    labels; it is taken off."""

    @property
    def changes(self) -> str:
        """What we change in the drawings, for the statement that CC BY asks for."""
        recolored = ["some parts recoloured"] if self.recolored else []
        return ", ".join(["framed", *recolored, *(["highlights taken off"] if self.has_overlays else [])])

    def choices(self, attribute: str) -> tuple[str, ...]:
        """The values of a choice attribute that this style can draw."""
        return tuple(self.parts.get(attribute, ()))

    def components(self, attribute: str) -> tuple[str, ...]:
        """The parts that draw a choice attribute."""
        return tuple(dict.fromkeys(part for drawings in self.parts[attribute].values() for part in drawings))


def _part(component: str, prefix: str = "", **choices: str) -> dict[str, Drawings]:
    """An attribute drawn by one part: for each value the drawings, as words; no words hide the part."""
    return {
        choice: {component: tuple(prefix + name for name in names.split())} if names else {}
        for choice, names in choices.items()
    }


_WITH_BACKGROUND = {"background": ("background",)}

STYLES: Mapping[str, AvatarStyle] = MappingProxyType({
    "cutouts": AvatarStyle(
        licence=CC0,
        focus=(0.5, 0.52),
        scale=1.15,
        parts={
            "hair": _part(
                "hair", short="fringe swoosh sidePart", bald="", curly="tufts curls", long="long", tied="crest"
            ),
            "mouth": _part("mouth", neutral="strip", smile="smile tornSmile", laugh="grin", frown="wavy", open="gasp"),
            "eyes": _part("eyes", open="circleSquare bigSmall pair ringDot squares inkDots", wink="sleepyOpen"),
            "brows": _part("brows", neutral="strips dashes mono", none="", raised="uneven"),
        },
        colors=_WITH_BACKGROUND | {"hair_color": ("paperHair",), "skin_color": ("paperFace",)},
        own=("head", "nose"),
        hidden=("cheeks",),
    ),
    "lorelei": AvatarStyle(
        licence=CC0,
        focus=(0.5, 0.47),
        scale=1.2,
        parts={
            "hair": _part(
                "hair",
                "variant",
                short="01 02 03 04 06 07 08 09 11 12 43 47",
                bald="28 34",
                spiky="20 27",
                curly="05 22 24 39",
                long="10 13 15 16 17 18 19 21 23 32 35 37 40 41",
                tied="14 26 31 33 36 38 42 45 46 48",
            ),
            "mouth": _part(
                "mouth",
                neutral="happy04 happy18 sad09",
                smile="happy01 happy02 happy03 happy10 happy13 happy14",
                laugh="happy05 happy06 happy07 happy08 happy12 happy16",
                frown="sad03 sad04 sad05 sad06 sad07",
                open="sad01 sad02",
            ),
            "eyes": _part(
                "eyes",
                "variant",
                open="02 04 05 06 07 10 11 13 14 16 20 21 24",
                closed="01 19 22",
                wink="15 17 18",
                squint="03 08 12",
            ),
            "brows": _part("eyebrows", "variant", neutral="02 03 05 07 09", raised="08 11", angry="10 13"),
            "glasses": _part("glasses", "variant", none="", clear="01 03 04 05", dark="02"),
            "beard": _part("beard", "variant", none="", full="01 02"),
        },
        colors=_WITH_BACKGROUND | {"hair_color": ("hair",), "skin_color": ("skin",)},
        own=("head", "nose"),
        hidden=("earrings", "freckles", "hairAccessories"),
    ),
    "notionists": AvatarStyle(
        licence=CC0,
        focus=(0.52, 0.5),
        scale=1.6,
        parts={
            "hair": _part(
                "hair",
                "variant",
                short="03 05 06 07 12 13 15 16 17 18 19 21 24 25 26 27 31 32 34 35 38 44 49 54 55 56 60",
                spiky="50 51 52 53",
                curly="09 20 22 33 40",
                long="02 04 08 10 11 23 28 36 41 58",
                tied="29 30 39 45 46 47 48 57 59",
                covered="14 61 62 63",
            ),
            "mouth": _part(
                "mouth",
                "variant",
                neutral="04 13",
                smile="03 17 21 22 23",
                laugh="08 10 14 25 30",
                frown="07 18 19 20 24",
                open="15 29",
            ),
            "eyes": _part("eyes", "variant", open="04 05", squint="01 02 03"),
            "brows": _part("eyebrows", "variant", neutral="02 04 05 07 08 09", raised="01 12", worried="06 13"),
            "glasses": _part("glasses", "variant", none="", clear="03 08 11", dark="01 02 04 05 06 07 09 10"),
            "beard": _part("beard", "variant", none="", moustache="03 05 06 07 09", full="01 02 08 10 11"),
        },
        colors=_WITH_BACKGROUND | {"hair_color": ("hair",), "skin_color": ("skin",), "clothes_color": ("clothes",)},
        own=("clothes", "head", "nose"),
        hidden=("clothesGraphic", "gesture"),
        recolored={
            "beard": ("ink", "hair"),
            "clothes": ("paper", "clothes"),
            "hair": ("ink", "hair"),
            "head": ("paper", "skin"),
        },
        kept=("variant14", "variant61", "variant62", "variant63"),
    ),
    "open-peeps": AvatarStyle(
        licence=CC0,
        focus=(0.5, 0.52),
        scale=1.1,
        parts={
            "hair": _part(
                "head",
                short="flatTop flatTopLong grayShort pomp shaved1 shaved2 short1 short2 short3 short4 short5",
                bald="noHair1 noHair2 noHair3",
                spiky="mohawk mohawk2 shaved3",
                curly="afro dreads1 dreads2 longAfro longCurly twists twists2",
                long="bangs bangs2 grayMedium long longBangs medium1 medium2 medium3 mediumBangs mediumBangs2 "
                "mediumBangs3 mediumStraight",
                tied="bantuKnots bun bun2 buns cornrows2 grayBun",
                covered="hatBeanie hatHip hijab turban",
            ),
            "mouth": _part(
                "expression",
                neutral="blank serious suspicious tired eyesClosed",
                smile="calm cheeky cute driven smile",
                laugh="explaining lovingGrin1 lovingGrin2 smileBig smileLOL smileTeethGap",
                frown="angryWithFang fear solemn veryAngry",
                open="concernedFear rage",
            ),
            "glasses": _part(
                "accessories",
                none="",
                clear="glasses glasses2 glasses3 glasses4 glasses5",
                dark="sunglasses sunglasses2",
            ),
            "beard": _part(
                "facialHair",
                none="",
                moustache="moustache2 moustache3 moustache5 moustache6 moustache7",
                full="full full2 full3 full4",
            ),
        },
        colors=_WITH_BACKGROUND
        | {"hair_color": ("headContrast",), "skin_color": ("skin",), "clothes_color": ("clothing",)},
        hidden=("mask",),
        recolored={"facialHair": ("ink", "headContrast"), "head": ("ink", "headContrast")},
        kept=("hatBeanie", "hatHip", "hijab", "noHair1", "turban"),
    ),
    "pixel-art": AvatarStyle(
        licence=CC0,
        focus=(0.5, 0.5),
        scale=1.1,
        parts={
            "hair": _part(
                "hair",
                short="short01 short02 short03 short04 short06 short07 short08 short09 short10 short12 short14 short15 "
                "short16 short17 short18 short19 short20 short22 short23 short24",
                bald="",
                spiky="short05 short21",
                curly="long15 short11 short13",
                long="long01 long02 long03 long04 long07 long08 long09 long12 long13 long16 long17 long20 long21",
                tied="long05 long06 long10 long18",
            )
            | {
                "covered": {
                    "hat": tuple(f"variant{number:02}" for number in range(1, 11)),
                    "hair": ("short04", "short09", "long03", "long04"),
                }
            },
            "mouth": _part(
                "mouth",
                neutral="sad04 sad05 sad06 sad07",
                smile="happy07 happy08 happy09 happy10 happy11",
                laugh="happy06 happy12",
                frown="sad01 sad02 sad03 sad08 sad09",
                open="happy01",
            ),
            "glasses": _part(
                "glasses",
                none="",
                clear="light01 light02 light03 light04 light05 light06 light07",
                dark="dark01 dark02 dark03 dark04 dark05 dark06 dark07",
            ),
            "beard": _part("beard", "variant", none="", moustache="01 04", full="03 05 06 07 08"),
        },
        colors=_WITH_BACKGROUND
        | {
            "hair_color": ("hair",),
            "skin_color": ("skin",),
            "eye_color": ("eyes",),
            "clothes_color": ("clothing",),
        },
        own=("clothes", "eyes"),
        hidden=("accessories",),
    ),
    "voxel-art": AvatarStyle(
        licence=CC0,
        focus=(0.5, 0.42),
        scale=1.25,
        facing=-1,
        parts={
            "hair": _part(
                "top",
                short="short bowl sideSwept halfShaved",
                bald="",
                spiky="spiky mohawk",
                curly="curly afro",
                long="bob shoulderLength longStraight longWavy partedLong",
                tied="buns ponytail braids twinTails",
                covered="cap beanie",
            ),
            "mouth": _part(
                "mouth",
                neutral="flat",
                smile="smile smirk wideSmile",
                laugh="bigSmile grin laugh",
                frown="frown",
                open="ooh",
            ),
            "eyes": _part("eyes", open="open soft side wide", closed="closed happy", squint="sleepy"),
            "brows": _part("eyebrows", neutral="flat", none="", raised="raised", angry="angry"),
            "glasses": _part("glasses", none="", clear="round square cat", dark="shades"),
            "beard": _part("beard", none="", moustache="mustache", full="full"),
        },
        colors=_WITH_BACKGROUND
        | {"hair_color": ("hair",), "skin_color": ("skin",), "clothes_color": ("shirt", "jacket")},
        own=("nose", "outfit"),
        hidden=("cheeks",),
        options={"animationVariant": "none"},
    ),
    "adventurer": AvatarStyle(
        licence=CC_BY,
        focus=(0.5, 0.55),
        scale=1.0,
        facing=-1,
        parts={
            "hair": _part(
                "hair",
                short="short01 short02 short04 short05 short06 short07 short09 short10 short11 short13 short14",
                spiky="short12 short15 short16",
                curly="short03 short08 short17 short18",
                long="long01 long02 long04 long05 long06 long07 long09 long17 long20 long21 long22 long24 long25 "
                "long26",
                tied="long10 long11 long12 long13 long14 long15 long16 long19 long23",
            ),
            "mouth": _part(
                "mouth",
                "variant",
                neutral="06 08 09 10",
                smile="02 20 29",
                laugh="01 05 22 23 25 26 27 28 30",
                frown="04 14",
                open="03 07 15 18",
            ),
            "eyes": _part(
                "eyes",
                "variant",
                open="01 02 03 06 24 25 26",
                closed="19 20",
                wink="21 22",
                squint="04 05 11 12 13 14 16 17 18",
            ),
            "brows": _part("eyebrows", "variant", neutral="07 10 11 12", raised="05 06 08 15", angry="01 02"),
            "glasses": _part("glasses", "variant", none="", clear="02 04 05", dark="01"),
            "beard": _part("details", none="", moustache="mustache"),
        },
        colors=_WITH_BACKGROUND | {"hair_color": ("hair",), "skin_color": ("skin",)},
        own=("head",),
        hidden=("earrings",),
    ),
    "micah": AvatarStyle(
        licence=CC_BY,
        focus=(0.52, 0.52),
        scale=1.1,
        parts={
            "hair": _part("hair", short="fonze", bald="mrClean", spiky="mrT", long="full pixie"),
            "mouth": _part(
                "mouth", neutral="pucker", smile="smile smirk", laugh="laughing", frown="frown sad", open="surprised"
            ),
            "eyes": _part("eyes", open="eyes round", closed="smiling"),
            "brows": _part("eyebrows", raised="up eyelashesUp", worried="down eyelashesDown"),
            "glasses": _part("glasses", none="", clear="round square"),
            "beard": _part("facialHair", none="", full="beard"),
        },
        colors=_WITH_BACKGROUND
        | {"hair_color": ("hair", "facialHair"), "skin_color": ("base",), "clothes_color": ("shirt",)},
        own=("clothes", "ears", "head", "nose"),
        hidden=("earrings",),
    ),
    "personas": AvatarStyle(
        licence=CC_BY,
        focus=(0.5, 0.5),
        scale=1.1,
        parts={
            "hair": _part(
                "hair",
                short="buzzcut fade shortCombover shortComboverChops",
                bald="bald",
                spiky="mohawk",
                curly="curly curlyHighTop",
                long="bobBangs bobCut extraLong long sideShave",
                tied="bunUndercut curlyBun pigtails straightBun",
                covered="beanie cap",
            ),
            "mouth": _part(
                "mouth", neutral="lips", smile="smile smirk", laugh="bigSmile", frown="frown", open="surprise"
            ),
            "eyes": _part("eyes", open="open", closed="happy sleep", wink="wink"),
            "beard": _part("facialHair", none="", moustache="pyramid walrus", full="beardMustache goatee"),
        },
        colors=_WITH_BACKGROUND
        | {"hair_color": ("hair", "facialHair"), "skin_color": ("skin",), "clothes_color": ("clothing",)},
        own=("clothes", "nose"),
        has_overlays=True,
    ),
    "toon-head": AvatarStyle(
        licence=CC_BY,
        focus=(0.5, 0.5),
        scale=1.15,
        parts={
            "hair": _part("hair", short="sideComed undercut", spiky="spiky", tied="bun")
            | {"long": {"hair": ("sideComed",), "rearHair": ("longStraight", "longWavy", "shoulderHigh")}},
            "mouth": _part("mouth", smile="smile", laugh="laugh", frown="sad", open="agape"),
            "eyes": _part("eyes", open="happy wide", closed="bow humble", wink="wink"),
            "brows": _part("eyebrows", neutral="neutral", raised="raised", angry="angry", worried="sad"),
            "beard": _part("beard", none="", moustache="moustacheTwirl", full="chinMoustache fullBeard longBeard"),
        },
        colors=_WITH_BACKGROUND
        | {"hair_color": ("hair",), "skin_color": ("skin",), "clothes_color": ("clothes",)},
        own=("body", "clothes", "head"),
    ),
})  # fmt: skip
"""Every style, those under CC0 first."""

DEFAULT_STYLES: tuple[str, ...] = tuple(name for name, style in STYLES.items() if style.licence == CC0)
"""The styles that are drawn unless others are asked for by name: works without conditions on their use."""
