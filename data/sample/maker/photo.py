"""A pretend camera: exposure, softness, tone curve, sensor noise, and a JPEG file with EXIF."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

_EXPOSURE = 0.92
_SENSOR_WIDTH_MM = 7.2
QUALITY = 90


def develop(radiance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn linear radiance into an 8-bit photo.

    Exposure varies by about 4 % (never more than 6 %), white balance by about 0.6 %; the corners
    lose 3 %; the lens blurs by 0.45 px; noise has a shot and a read part; a shoulder keeps
    highlights; then comes the sRGB curve.
    """
    rows, columns = radiance.shape[:2]
    gain = np.exp(np.clip(rng.normal(0, 0.035), -0.058, 0.058))
    balance = np.exp(np.clip(rng.normal(0, 0.006, 3), -0.015, 0.015))
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    corner = ((x / columns - 0.5) ** 2 + (y / rows - 0.5) ** 2) / 0.5
    light = radiance * (_EXPOSURE * gain * balance) * (1.0 - 0.03 * corner)[..., None]
    light = cv2.GaussianBlur(light.astype(np.float64), (0, 0), 0.45)
    grain = rng.standard_normal(light.shape)
    light = light + grain * np.sqrt(3.0e-5 * np.maximum(light, 0) + 1.2e-6)
    light = np.maximum(light, 0)
    shoulder = np.where(light > 0.55, 0.55 + 0.45 * (1 - np.exp(-(light - 0.55) / 0.45)), light)
    curve = np.where(shoulder <= 0.0031308, 12.92 * shoulder, 1.055 * shoulder ** (1 / 2.4) - 0.055)
    return np.round(np.clip(curve, 0, 1) * 255).astype(np.uint8)


def _ratio(value: float) -> IFDRational:
    share = Fraction(value).limit_denominator(100000)
    return IFDRational(share.numerator, share.denominator)


def exif(focal_px: float, width: int, number: int) -> Image.Exif:
    """Describe the pretend camera, whose sensor is 7.2 mm wide: a fifth of 35 mm film.

    FocalLength and FocalPlaneXResolution (per cm) give the focal exactly; FocalLengthIn35mmFilm
    (by width) is rounded.
    """
    px_per_mm = width / _SENSOR_WIDTH_MM
    data = Image.Exif()
    data[0x010F], data[0x0110] = "Still Life Works", "SLW Pretend 5"
    data[0x0112] = 1
    data[0x011A] = data[0x011B] = IFDRational(72, 1)
    data[0x0128] = 2
    data[0x0131] = "data/sample/make.py"
    stamp = f"2025:03:21 10:{2 * number:02d}:00"
    data[0x0132] = stamp
    more = data.get_ifd(0x8769)
    more[0x829A] = IFDRational(1, 60)
    more[0x829D] = IFDRational(8, 1)
    more[0x8827] = 200
    more[0x9003] = more[0x9004] = stamp
    more[0x920A] = _ratio(focal_px / px_per_mm)
    more[0xA20E] = more[0xA20F] = _ratio(10 * px_per_mm)
    more[0xA210] = 3
    more[0xA405] = round(focal_px / width * 36)
    return data


def save(path: Path, photo: np.ndarray, focal_px: float, number: int) -> None:
    """Write a JPEG."""
    details = exif(focal_px, photo.shape[1], number)
    Image.fromarray(photo).save(path, quality=QUALITY, subsampling=2, exif=details)
