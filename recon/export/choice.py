"""Which splat formats there are to choose from. No torch here: options import it."""

from dataclasses import dataclass

FORMATS = ("ply", "compressed", "spz", "splat", "glb")


@dataclass
class SplatExport:
    """What a run writes its splats as."""

    formats: str = "ply"  # of ply:compressed:spz:splat:glb; the PLY always comes
    pad_degree: int = 0  # harmonics of the PLY are padded to this degree: 3 for old viewers

    def __post_init__(self):
        named_formats("export.formats", self.formats)
        check_degree("export.pad_degree", self.pad_degree)


def named_formats(option: str, text: str) -> tuple[str, ...]:
    """The formats of an option's value, colons or commas between, each once, in their order."""
    names = [name.strip() for name in text.replace(",", ":").split(":")]
    for name in names:
        if name not in (*FORMATS, "(required)"):
            raise ValueError(f"{option} must be of {':'.join(FORMATS)}, got {name or 'nothing'}")
    return tuple(dict.fromkeys(names))


def check_degree(option: str, degree: int) -> None:
    """Refuse what no reader of ours would understand."""
    if degree not in range(5):
        raise ValueError(f"{option} must be 0 to 4, got {degree}")
