"""ds9 region files: which pixels they hold, and what of them is no area.

The words are those of ds9's reference manual (ds9.si.edu/doc/ref/region.html).  A shape with an
area is understood, or the file is refused: no mask is smaller than its file says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from bycatch.arrays import Bools, Floats
from bycatch.errors import MissingKeyword, SettingsError
from bycatch.user_files.content import decode_text, file_content
from bycatch.user_files.shapes import in_box, in_ellipse, in_polygon, in_ring, in_wedge

PIXEL_FRAMES = ("image", "physical")
SKY_FRAMES = {
    "icrs": "icrs", "fk5": "fk5", "j2000": "fk5", "fk4": "fk4", "b1950": "fk4",
    "galactic": "galactic", "ecliptic": "barycentricmeanecliptic",
}  # fmt: skip
OTHER_FRAMES = re.compile(r"linear|amplifier|detector|wcs[a-z]?|tile.*|unknown")
NO_AREA = frozenset(
    {"point", "line", "vector", "text", "ruler", "compass", "projection", "segment"}
)
"""Shapes that mark something, and cover nothing."""
POINT_WORDS = re.compile(r"(circle|box|diamond|cross|x|arrow|boxcircle)\s+point\b")
MIN_NUMBERS = {
    "circle": 3, "annulus": 4, "ellipse": 4, "box": 4, "rotbox": 5, "polygon": 6,
    "panda": 8, "epanda": 10, "bpanda": 10, "pie": 6,
}  # fmt: skip
SHAPE = re.compile(r"([-+!]?)\s*([a-z]+)\s*(?:\(([^()]*)\)|\s([^()]*))")
NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(['\"drip]?)")
COLONS = re.compile(r"([+-]?)(\d+):(\d+):(\d+\.?\d*)")
LETTERS = re.compile(r"([+-]?)(\d+)([hd])(\d+)m(\d+\.?\d*)s")
ARCSEC_PER = {"'": 60.0, '"': 1.0, "d": 3600.0, "r": np.degrees(1.0) * 3600.0}
NORTH_DEG = 1.0 / 3600.0
"""How far north of a centre the scale and the angle of the sky are taken."""


@dataclass(frozen=True)
class PhysicalFrame:
    """Where an image lies in the frame that it was cut out of: image = physical * ltm + ltv.

    IRAF's LTMi_i and LTVi, for 1-based pixels; identity without them.
    """

    ltv: tuple[float, float] = (0.0, 0.0)
    ltm: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def of_header(cls, header: Mapping[str, Any]) -> PhysicalFrame:
        """Return the frame that a header gives.

        Raises
        ------
        MissingKeyword
            It turns or mirrors the axes, or holds no numbers.
        """
        try:
            ltv = (float(header.get("LTV1", 0.0)), float(header.get("LTV2", 0.0)))
            ltm = (float(header.get("LTM1_1", 1.0)), float(header.get("LTM2_2", 1.0)))
            cross = abs(float(header.get("LTM1_2", 0.0))) + abs(float(header.get("LTM2_1", 0.0)))
        except (TypeError, ValueError):
            cross, ltv, ltm = np.nan, (0.0, 0.0), (1.0, 1.0)
        if cross != 0 or not np.isfinite([*ltv, *ltm]).all() or min(ltm) <= 0:
            raise MissingKeyword(
                "the physical frame of regions does not follow from LTV and LTM of the image",
                hint="save the regions from ds9 in the icrs or image frame",
            )
        return cls(ltv, ltm)


@dataclass(frozen=True)
class Region:
    """A shape of a region file as it stands there.

    Attributes
    ----------
    line : its line in the file
    shape : 'circle', 'annulus', 'ellipse', 'box', 'polygon', 'panda', 'epanda' or 'bpanda'
    frame : 'image', 'physical', or one of the sky
    points : centre, or corners; 1-based pixels, or degrees
    sizes : lengths, one tuple for each of concentric shapes; pixels, or arcsec
    on_sky : whether the sizes are arcsec
    angle_deg : turn of ellipses and boxes, degrees
    wedge_deg : first and last angle of a panda
    is_hole : whether it has a minus sign
    """

    line: int
    shape: str
    frame: str
    points: tuple[tuple[float, float], ...]
    sizes: tuple[tuple[float, ...], ...] = ()
    on_sky: bool = False
    angle_deg: float = 0.0
    wedge_deg: tuple[float, float] | None = None
    is_hole: bool = False

    def contains(self, x: Floats, y: Floats, wcs: WCS, physical: PhysicalFrame) -> Bools:
        """Return which 0-based pixel positions lie in the region; none where it is not in view."""
        corners_x, corners_y, stretch, turn_deg = self._in_pixels(wcs, physical)
        if not np.isfinite([*corners_x, *corners_y, *stretch, turn_deg]).all():
            return np.zeros(len(x), dtype=bool)
        if self.shape == "polygon":
            return in_polygon(x, y, corners_x, corners_y)
        dx, dy = x - corners_x[0], y - corners_y[0]
        sizes = [tuple(v * s for v, s in zip(size, stretch, strict=True)) for size in self.sizes]
        angle = self.angle_deg + turn_deg
        inside = in_box if self.shape in {"box", "bpanda"} else in_ellipse
        is_inside = in_ring(inside, (dx, dy), sizes, angle)
        if self.wedge_deg is not None:
            start, stop = (v + angle for v in self.wedge_deg)
            is_inside &= in_wedge(dx, dy, start, stop)
        return is_inside

    def _in_pixels(
        self, wcs: WCS, physical: PhysicalFrame
    ) -> tuple[Floats, Floats, tuple[float, float], float]:
        """Return 0-based points, pixels per unit of length along both axes, and the turn."""
        first, second = np.array(self.points, dtype=float).T
        if self.frame in PIXEL_FRAMES:
            frame = physical if self.frame == "physical" else PhysicalFrame()
            x = first * frame.ltm[0] + frame.ltv[0] - 1
            y = second * frame.ltm[1] + frame.ltv[1] - 1
            if not self.on_sky:
                return x, y, frame.ltm, 0.0
            at = SkyCoord(*wcs.all_pix2world(x[:1], y[:1], 0), unit="deg", frame="icrs")
            return x, y, (_scale_and_turn(wcs, at)[0],) * 2, 0.0
        sky = SkyCoord(first, second, unit="deg", frame=SKY_FRAMES[self.frame])
        x, y = _pixels(wcs, sky)
        scale, turn_deg = _scale_and_turn(wcs, sky[:1])
        return x, y, (scale if self.on_sky else 1.0,) * 2, turn_deg


def _pixels(wcs: WCS, sky: SkyCoord) -> tuple[Floats, Floats]:
    icrs = sky.icrs
    x, y = wcs.all_world2pix(icrs.ra.deg, icrs.dec.deg, 0, quiet=True)
    centre = SkyCoord(*wcs.wcs.crval[:2], unit="deg", frame="icrs")
    far = icrs.separation(centre).deg > 80.0  # a tangent plane shows the other side as well
    return np.where(far, np.nan, x), np.where(far, np.nan, y)


def _scale_and_turn(wcs: WCS, sky: SkyCoord) -> tuple[float, float]:
    """Return pixels per arcsec at a point, and by how much its frame's east-west axis is turned."""
    latitude = sky.spherical.lat.deg
    step = np.where(latitude > 89.9, -NORTH_DEG, NORTH_DEG)
    north = SkyCoord(sky.spherical.lon.deg, latitude + step, unit="deg", frame=sky.frame.name)
    (x0,), (y0,) = _pixels(wcs, sky)
    (x1,), (y1,) = _pixels(wcs, north)
    dx, dy = (x1 - x0) * np.sign(step[0]), (y1 - y0) * np.sign(step[0])
    return float(np.hypot(dx, dy)), float(np.degrees(np.arctan2(dy, dx)) - 90.0)


@dataclass(frozen=True)
class RegionList:
    """The regions of a file.

    Attributes
    ----------
    regions : those that have an area
    passed_over : in words, those that have none
    """

    regions: tuple[Region, ...]
    passed_over: tuple[str, ...] = ()

    @property
    def needs_physical(self) -> bool:
        """Tell whether a region is in the physical frame."""
        return any(region.frame == "physical" for region in self.regions)

    def contain(
        self, x: Floats, y: Floats, wcs: WCS, physical: PhysicalFrame | None = None
    ) -> Bools:
        """Return which 0-based pixel positions lie in a region, and in no hole (``-circle``)."""
        inside, hole = np.zeros(len(x), dtype=bool), np.zeros(len(x), dtype=bool)
        is_finite = np.isfinite(x) & np.isfinite(y)
        if not is_finite.any():
            return inside
        for region in self.regions:
            is_in_region = region.contains(
                x[is_finite], y[is_finite], wcs, physical or PhysicalFrame()
            )
            target = hole if region.is_hole else inside
            target[is_finite] |= is_in_region
        return inside & ~hole


def read_regions(path: Path, label: str = "") -> RegionList:
    """Read a ds9 region file.

    Raises
    ------
    SettingsError
        Not readable, no area in it, or a line that is not understood.
    """
    label = label or str(path)
    text = decode_text(file_content(path, label), label, "save it from ds9 in ds9 format")
    if text.lstrip("\ufeff \n\t").startswith("<"):
        raise SettingsError(f"{label}: regions in XML", hint="save them from ds9 in ds9 format")
    frame, regions = "physical", []
    no_area: dict[str, list[str]] = {}
    for number, command in _commands(text):
        if command in {*PIXEL_FRAMES, *SKY_FRAMES} or OTHER_FRAMES.fullmatch(command):
            frame = command  # one that is not understood does harm only if a shape follows
        else:
            region_or_shape = _region(number, command, frame, label)
            if isinstance(region_or_shape, Region):
                regions.append(region_or_shape)
            else:
                no_area.setdefault(region_or_shape, []).append(str(number))
    passed_over = [f"{shape} (line {', '.join(at)}) has no area" for shape, at in no_area.items()]
    if all(region.is_hole for region in regions):
        why = "; ".join(passed_over) or "no region in it"
        raise SettingsError(
            f"{label}: no region with an area to leave out ({why})"
            if not regions
            else f"{label}: every region has a minus sign: nothing is left out",
            hint="save it from ds9 in ds9 format",
        )
    return RegionList(tuple(regions), tuple(passed_over))


def _commands(text: str) -> Iterator[tuple[int, str]]:
    """Give the commands of a file with their lines, without comments and properties."""
    shapes = "|".join(sorted(NO_AREA))
    sign = ""
    for number, line in enumerate(text.split("\n"), start=1):
        # Words in braces and quotes may hold anything.
        bare = re.sub(r"\{[^}]*\}|(?<==)\"[^\"]*\"|(?<==)'[^']*'", "", line).strip().lower()
        mark = re.match(rf"#\s*((?:{shapes})\s*\([^)]*\))", bare)
        if mark:  # ds9 hides what has no area in comments
            yield number, mark[1]
        if bare.startswith("#"):
            continue
        include = re.search(r"\binclude\s*=\s*([01])", bare)
        own = sign if include is None else ("-" if include[1] == "0" else "")
        if bare.startswith("global"):
            sign = own
            continue
        in_comment = False
        for part in bare.split(";"):
            command, mark_, _ = part.partition("#")
            command = re.sub(r"\|\|\s*$", "", command.strip()).strip()
            if command and (not in_comment or _is_command(command)):
                is_shape = own and SHAPE.fullmatch(command) and command[0].isalpha()
                yield number, f"-{command}" if is_shape else command
            in_comment = in_comment or bool(mark_)


def _is_command(words: str) -> bool:
    """Tell a shape or a frame from prose, in what follows a semicolon in a comment."""
    match = SHAPE.fullmatch(words)
    return words in {*PIXEL_FRAMES, *SKY_FRAMES} or bool(match and match[2] in MIN_NUMBERS)


def _region(line: int, command: str, frame: str, label: str) -> Region | str:
    """Return the region of a command, or the name of a shape without area."""
    if POINT_WORDS.match(command):
        return "point"
    match = SHAPE.fullmatch(command)
    if match is None:
        raise _not_understood(label, line, command, "it is not understood")
    sign, shape, inside, bare = match.groups()
    if shape in NO_AREA:
        return shape
    if shape not in MIN_NUMBERS:
        raise _not_understood(label, line, command, f"'{shape}' is not a ds9 shape")
    if OTHER_FRAMES.fullmatch(frame):
        raise _not_understood(label, line, command, f"the frame '{frame}' is not understood")
    words = [w for w in re.split(r"[,\s]+", (inside if inside is not None else bare).strip()) if w]
    try:
        region = _region_of(line, shape, frame, words)
    except ValueError as err:
        raise _not_understood(label, line, command, str(err)) from err
    return replace(region, is_hole=sign in {"-", "!"})


def _not_understood(label: str, line: int, command: str, why: str) -> SettingsError:
    return SettingsError(
        f"{label}: line {line}: {command[:60]}: {why}",
        hint="save it from ds9 in ds9 format, in the icrs, image or physical frame",
    )


def _region_of(line: int, shape: str, frame: str, words: list[str]) -> Region:
    """Return a region of the words between its brackets."""
    n = len(words)
    if n < MIN_NUMBERS[shape]:
        raise ValueError(f"{n} numbers are too few")
    if shape == "polygon":
        if n % 2:
            raise ValueError(f"{n} numbers do not make corners")
        points = tuple(_point(words[k : k + 2], frame) for k in range(0, n, 2))
        return Region(line, "polygon", frame, points)
    centre, rest = (_point(words[:2], frame),), words[2:]
    wedge, angle = None, 0.0
    if shape in {"panda", "epanda", "bpanda", "pie"}:
        rest, wedge, angle = _panda(shape, rest)
    elif shape in {"ellipse", "box", "rotbox"} and len(rest) % 2:
        rest, angle = rest[:-1], _angle(rest[-1])
    lengths = [_length(word, frame) for word in rest]
    if len({kind for _, kind in lengths}) > 1:
        raise ValueError("its sizes are of different units")
    values = [value for value, _ in lengths]
    if shape == "circle" and len(values) != 1:
        raise ValueError(f"{len(values)} radii")
    round_one = shape in {"circle", "annulus", "panda", "pie"}
    sizes = (
        tuple((v, v) for v in values)
        if round_one
        else tuple(zip(values[::2], values[1::2], strict=True))
    )
    kind = {"annulus": "circle", "rotbox": "box", "pie": "panda"}.get(shape, shape)
    return Region(line, kind, frame, centre, sizes, lengths[0][1], angle, wedge)


def _panda(shape: str, words: list[str]) -> tuple[list[str], tuple[float, float], float]:
    """Return sizes, first and last angle, and turn of a pie of annuli."""
    if shape == "pie":  # CIAO: r1, r2, angle1, angle2
        return words[:2], (_angle(words[2]), _angle(words[3])), 0.0
    wedge = (_angle(words[0]), _angle(words[1]))
    n_sizes = 2 if shape == "panda" else 4
    sizes, rest = words[3 : 3 + n_sizes], words[3 + n_sizes :]
    if len(rest) not in {1, 2} or (shape == "panda" and len(rest) != 1):
        raise ValueError(f"{len(words) + 2} numbers for a {shape}")
    return sizes, wedge, _angle(rest[1]) if len(rest) == 2 else 0.0


def _point(words: list[str], frame: str) -> tuple[float, float]:
    """Return a position: pixels, or degrees."""
    return _coordinate(words[0], frame, is_first=True), _coordinate(words[1], frame, is_first=False)


def _coordinate(word: str, frame: str, *, is_first: bool) -> float:
    on_sky = frame in SKY_FRAMES
    match = COLONS.fullmatch(word) or LETTERS.fullmatch(word)
    if match and on_sky:
        sign, whole, *letter, minutes, seconds = match.groups()
        hours = letter == ["h"] if letter else is_first and frame not in {"galactic", "ecliptic"}
        if float(minutes) >= 60 or float(seconds) > 60 or (hours and int(whole) > 24):
            raise ValueError(f"{word} is not an angle")
        value = int(whole) + float(minutes) / 60 + float(seconds) / 3600
        value = (-value if sign == "-" else value) * (15.0 if hours else 1.0)
    else:
        value, unit = _number(word)
        units = {"", "d", "r"} if on_sky else {"", "i" if frame == "image" else "p"}
        if unit not in units:
            raise ValueError(f"{word} is not a position in the {frame} frame")
        value = float(np.degrees(value)) if unit == "r" else value
    if on_sky and not (-90 <= value <= 90 or (is_first and -360 <= value <= 720)):
        raise ValueError(f"{word} is not a position on the sky")
    return value


def _number(word: str) -> tuple[float, str]:
    match = NUMBER.fullmatch(word)
    if match is None or not np.isfinite(float(match[1])):
        raise ValueError(f"{word} is not a number")
    return float(match[1]), match[2]


def _angle(word: str) -> float:
    value, unit = _number(word)
    if unit not in {"", "d", "r"}:
        raise ValueError(f"{word} is not an angle")
    return float(np.degrees(value)) if unit == "r" else value


def _length(word: str, frame: str) -> tuple[float, bool]:
    """Return a length, and whether it is in arcsec; else in pixels."""
    value, unit = _number(word)
    if value < 0:
        raise ValueError(f"{word} is not a length")
    if unit in ARCSEC_PER:
        return value * ARCSEC_PER[unit], True
    if unit == "" and frame in SKY_FRAMES:  # degrees
        return value * 3600.0, True
    if unit not in {"", "p" if frame == "physical" else "i"}:
        raise ValueError(f"{word}: pixels of another frame")
    return value, False
