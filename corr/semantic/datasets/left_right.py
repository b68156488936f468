"""Which key-points are left and right twins, and which look alike and differ by place only.

The annotations number the key-points and do not say which belong together; the assignment here
is the one by which geometry-aware results are published, written per category as `2-3` (twins)
and `9-10-11-12` (a group of which only geometry tells the members apart).

Source of the assignment: Zhang et al., Telling Left from Right, CVPR 2024 (their annotation of
SPair-71k and AP-10K).
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
_AP10K_TWINS = "0-1 5-8 6-9 7-10 11-14 12-15 13-16"
_AP10K_GROUPS = "5-8 6-9-12-15 7-10-13-16 11-14"


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


SPAIR_TWINS = {category: parse_twins(text) for category, text in _SPAIR_TWINS.items()}
SPAIR_GROUPS = {category: parse_groups(text) for category, text in _SPAIR_GROUPS.items()}
AP10K_TWINS = parse_twins(_AP10K_TWINS)
AP10K_GROUPS = parse_groups(_AP10K_GROUPS)
