"""Which key-points are left and right twins, and which look alike and differ by place only.

AP-10K names its key-points; twins and groups follow from the names. SPair-71k numbers them and
names none; which number means which part is a fact of its photos, first written down by Zhang et
al., Telling Left from Right, CVPR 2024, and restated here in our own notation: per category `2-3`
(twins) and `9-10-11-12` (a group of which only geometry tells the members apart). A test marked
`data` holds the twins to geometry, for the categories of which photos lie at hand: from a right
part to its left twin is the same way all over an object.
"""

_SPAIR_TWINS = {
    "aeroplane": "4-5 6-7 8-9 10-11 12-13 14-15 16-17 18-19 20-21",
    "bicycle": "2-3 6-7 9-10",
    "bird": "1-2 4-5 7-8 10-11 12-13 14-15",
    "boat": "1-2 3-4 5-6 7-8 9-10 11-12",
    "bottle": "0-1 2-3 4-5 6-7 8-9",
    "bus": "0-1 2-3 5-6 10-20 13-23 11-21 14-24 12-22 15-25 16-17 26-27 18-19 28-29",
    "car": "0-1 2-3 6-7 10-20 13-23 11-21 14-24 12-22 15-25 16-17 26-27 18-19 28-29",
    "cat": "0-1 2-3 4-5 6-7 9-10 11-12",
    "chair": "0-1 2-3 4-5 6-7 8-9 10-11 12-13",
    "cow": "0-1 2-3 4-5 6-7 9-10 11-12 15-16 17-18 19-20",
    "dog": "0-1 2-3 4-5 9-10 11-12",
    "horse": "0-1 2-3 4-5 6-7 10-11 12-13 16-17 18-19",
    "motorbike": "0-1 2-3",
    "person": "0-1 2-3 8-9 10-11 12-13 14-15 16-17 18-19",
    "pottedplant": "0-2 4-5 6-8",
    "sheep": "0-1 2-3 4-5 6-7 9-10 11-12 15-16 17-18 19-20",
    "train": "0-1 2-3 4-5 6-7 8-9 10-11 12-13 14-15 16-17",
    "tvmonitor": "0-2 4-6 3-7 8-10 12-14 11-15",
}
_SPAIR_GROUPS = {
    "aeroplane": "4-5 6-7 8-9 10-11 12-13 14-15 16-17 18-19 20-21",
    "bicycle": "2-3 6-7 9-10",
    "bird": "1-2 10-11 12-13 14-15",
    "boat": "1-2 3-4 5-6 7-8 9-10 11-12",
    "bottle": "0-1 2-3 4-5 6-7 8-9",
    "bus": "0-1 2-3-5-6 4-7 10-13-20-23 11-14-21-24 12-15-22-25 16-17-26-27 18-19-28-29",
    "car": "0-1 2-3-6-7 4-8 5-9 10-13-20-23 11-14-21-24 12-15-22-25 16-17-26-27 18-19-28-29",
    "cat": "2-3 9-10-11-12",
    "chair": "0-1 2-3 4-5-6-7 8-9 10-11 12-13",
    "cow": "2-3 9-10-11-12 15-16-17-18 19-20",
    "dog": "2-3 9-10-11-12",
    "horse": "2-3 10-11-12-13 16-17-18-19",
    "motorbike": "0-1 2-3",
    "person": "8-9 10-11 12-13 14-15 16-17 18-19",
    "pottedplant": "0-1-2-3 4-5 6-8",
    "sheep": "2-3 9-10-11-12 15-16-17-18 19-20",
    "train": "0-1 2-3 4-5 6-7 8-9 10-11 12-13 14-15 16-17",
    "tvmonitor": "0-2-4-6 1-3-5-7 8-10-12-14 9-11-13-15",
}
# In the order of the annotations (Yu et al., AP-10K, NeurIPS 2021, table 2).
AP10K_NAMES = (
    "left eye", "right eye", "nose", "neck", "root of tail",
    "left shoulder", "left elbow", "left front paw",
    "right shoulder", "right elbow", "right front paw",
    "left hip", "left knee", "left back paw",
    "right hip", "right knee", "right back paw",
)  # fmt: skip
# Parts of an animal's legs that look alike; eyes are told apart by the face around them.
_AP10K_ALIKE = (("shoulder",), ("elbow", "knee"), ("front paw", "back paw"), ("hip",))


def parse_groups(text: str) -> tuple[tuple[str, ...], ...]:
    """`"2-3 9-10-11-12"` as groups of names."""
    return tuple(tuple(part.split("-")) for part in text.split())


def parse_twins(text: str) -> dict[str, str]:
    """`"2-3"` as a mapping both ways.

    Raises:
        ValueError: A part has not two names, or a name has two twins.
    """
    twins: dict[str, str] = {}
    for pair in parse_groups(text):
        if len(pair) != 2 or pair[0] in twins or pair[1] in twins:
            raise ValueError(f"twins must be pairs of names used once, got {'-'.join(pair)}")
        twins |= {pair[0]: pair[1], pair[1]: pair[0]}
    return twins


def _twins_by_name(names: tuple[str, ...]) -> dict[str, str]:
    """Left and right of the same part, by number, both ways."""
    place = {name: str(k) for k, name in enumerate(names)}
    other = {"left": "right", "right": "left"}
    split = ((name, *name.partition(" ")[::2]) for name in names)
    return {
        place[name]: place[f"{other[side]} {part}"] for name, side, part in split if side in other
    }


SPAIR_TWINS = {category: parse_twins(text) for category, text in _SPAIR_TWINS.items()}
SPAIR_GROUPS = {category: parse_groups(text) for category, text in _SPAIR_GROUPS.items()}
AP10K_TWINS = _twins_by_name(AP10K_NAMES)
AP10K_GROUPS = tuple(
    tuple(str(k) for k, name in enumerate(AP10K_NAMES) if name.partition(" ")[2] in alike)
    for alike in _AP10K_ALIKE
)
