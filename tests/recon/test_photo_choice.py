import pytest

from corr.errors import UserError
from recon.photo_choice import choose

NAMES = [f"p{i:02d}.jpg" for i in range(10)]


def test_all_photos_are_input_by_default():
    assert choose(NAMES, "all", "") == (NAMES, [])


def test_every_nth_starts_with_the_first_and_rest_is_held_out():
    inputs, held = choose(NAMES, "every:4", "rest")
    assert inputs == ["p00.jpg", "p04.jpg", "p08.jpg"]
    assert held == [n for n in NAMES if n not in inputs]


def test_held_out_photos_are_never_input():
    inputs, held = choose(NAMES, "all", "p03.jpg,p07")
    assert held == ["p03.jpg", "p07.jpg"]
    assert not set(inputs) & set(held)
    assert len(inputs) == 8


def test_patterns_and_files_select(tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_text("# held out\np01.jpg\n\np02.jpg\n")
    assert choose(NAMES, "p0[0-4].jpg", f"@{listing}") == (
        ["p00.jpg", "p03.jpg", "p04.jpg"],
        ["p01.jpg", "p02.jpg"],
    )


def test_name_with_brackets_selects_itself():
    assert choose(["p[1].jpg", "b.jpg", "c.jpg"], "all", "p[1].jpg")[1] == ["p[1].jpg"]


@pytest.mark.parametrize(
    ("use", "hold_out", "message"),
    [
        ("nothing*", "", "scene.use: no photo is called nothing"),
        ("all", "p99.jpg", "scene.hold_out: no photo is called p99.jpg; the first is p00.jpg"),
        ("every:0", "", "scene.use must be every:N"),
        ("all", "@missing.txt", "there is no file missing.txt"),
        ("p00.jpg", "", "1 of 10 photos are left as input"),
    ],
)
def test_wrong_selector_names_the_option(use, hold_out, message):
    with pytest.raises(UserError, match=message.replace("*", r"\*")):
        choose(NAMES, use, hold_out)
