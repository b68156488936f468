"""What EXIF says about the camera: the focal length in pixels, when it can be trusted."""

import math
from collections.abc import Mapping

FOCAL_LENGTH = 0x920A
FOCAL_LENGTH_35MM = 0xA405
PIXEL_X, PIXEL_Y = 0xA002, 0xA003
PLANE_X_RESOLUTION, PLANE_UNIT = 0xA20E, 0xA210
EXIF_IFD = 0x8769

MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}  # FocalPlaneResolutionUnit; absent means inch
FULL_FRAME_DIAGONAL_MM = math.hypot(36.0, 24.0)
PLAUSIBLE_FOCAL = (0.2, 20.0)  # per long side: 136° wide to 3° narrow
PLAUSIBLE_SENSOR_MM = (1.5, 80.0)  # the long side, from an endoscope to medium format
AGREEMENT = 1.15  # above this ratio the two tags contradict each other


def focal_prior_px(tags: Mapping[int, object], width: int, height: int) -> float | None:
    """Focal length in pixels of a `width` x `height` photo, or None when EXIF does not say.

    Two sources. The sensor's pixel pitch (FocalPlaneXResolution and its unit) is the exact one;
    it counts pixels of the photo as it was taken, so a photo resized since is scaled by
    PixelXDimension. FocalLengthIn35mmFilm is whole millimetres (about 2 %); CIPA DCG-001 defines
    it by the diagonal angle of view, hence f = f35 · diagonal_px / 43.27 mm (equal to
    long side / 36 mm for 3:2 sensors, 4 % more for a phone's 4:3). Where the two contradict each
    other by more than 15 % the second wins: programs that resize forget the pitch.

    Nothing here depends on which side is the width, so a rotated photo has the same focal.

    Args:
        tags: The EXIF sub-directory (tag number to value).
        width: Of the photo, pixels, before or after rotation.
        height: Of the photo, pixels.
    """
    long_side = max(width, height)
    by_pitch = _plausible(_from_pitch(tags, long_side), long_side)
    by_film = _plausible(_from_film(tags, math.hypot(width, height)), long_side)
    if by_pitch is None or by_film is None:
        return by_film if by_pitch is None else by_pitch
    agrees = max(by_pitch, by_film) <= AGREEMENT * min(by_pitch, by_film)
    return by_pitch if agrees else by_film


def _from_pitch(tags: Mapping[int, object], long_side: int) -> float | None:
    focal_mm = _number(tags.get(FOCAL_LENGTH))
    resolution = _number(tags.get(PLANE_X_RESOLUTION))
    unit_mm = MM_PER_UNIT.get(int(_number(tags.get(PLANE_UNIT)) or 2))
    if not focal_mm or not resolution or unit_mm is None:
        return None
    taken = max(_number(tags.get(PIXEL_X)) or 0, _number(tags.get(PIXEL_Y)) or 0) or long_side
    px_per_mm = resolution / unit_mm
    smallest, largest = PLAUSIBLE_SENSOR_MM
    if not smallest <= taken / px_per_mm <= largest:
        return None
    return focal_mm * px_per_mm * long_side / taken


def _from_film(tags: Mapping[int, object], diagonal: float) -> float | None:
    focal_35mm = _number(tags.get(FOCAL_LENGTH_35MM))
    return focal_35mm * diagonal / FULL_FRAME_DIAGONAL_MM if focal_35mm else None


def _plausible(focal_px: float | None, long_side: int) -> float | None:
    smallest, largest = PLAUSIBLE_FOCAL
    if focal_px is None or not smallest <= focal_px / long_side <= largest:
        return None
    return focal_px


def _number(value: object) -> float | None:
    """A positive finite float, or None; EXIF rationals may be 0/0."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None
