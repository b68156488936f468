"""The report: one file that says the same as the answer, opens from disk and draws both scans."""

import base64
import dataclasses
import json
import re

import numpy as np
import pytest
from run_world import RIVAL, TRUE, aligned

from corr.geometry.rigid import Rigid3
from registration.drawn import drawn_pair
from registration.outputs import TrueError
from registration.pictures import DISTANCE_FULL, write_pictures
from registration.report import plots, viewer
from registration.report.page import hypothesis_rows, write_report
from registration.summary import closing_lines
from tests.browser import needs_browser, open_and_probe


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report of an accepted answer."""
    folder = tmp_path_factory.mktemp("report")
    done = aligned()
    pair = drawn_pair(done)
    write_pictures(folder, pair)
    (folder / "transform.txt").write_text("1 0 0 0\n")
    return write_report(folder, done, pair, TrueError(0.123, 0.0456))


def test_report_names_no_outside_address(page):
    text = page.read_text("utf-8")
    plain = re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]{2,}", plain)
    assert "default-src 'none'" in text
    links = re.findall(r'<a href="([^#"]+)"', plain)
    assert links == ["transform.txt"]


def test_report_has_every_section_and_figure(page):
    text = page.read_text("utf-8")
    wanted = (
        "The scans are aligned", "0.97", "82", "0.0042", "0.78", "0.12°", "0.0456",
        "sliding along (1.00, 0.00, 0.00)", "90.0°", "voxel 0.05 (as given)", "corner.ply",
    )  # fmt: skip
    assert [part for part in wanted if part not in text] == []
    for anchor in re.findall(r'href="#([\w-]+)"', text):
        assert f'id="{anchor}"' in text


def test_report_without_an_answer_says_so(tmp_path):
    done = aligned(finds=False)
    pair = drawn_pair(done)
    write_pictures(tmp_path, pair)
    text = write_report(tmp_path, done, pair, None).read_text("utf-8")
    assert "No alignment was found" in text
    assert "There is no transform: only 2 matches agree" in text
    assert "there is no alignment to show" in text
    assert "sensor_source=origin" in text


def test_report_of_a_rejected_answer_warns_and_advises(tmp_path):
    done = aligned(probability=0.2)
    text = write_report(tmp_path, done, drawn_pair(done), None).read_text("utf-8")
    assert "not to be relied on" in text
    assert "Too few matches agree" in text
    assert "voxel=0.031" in text


def test_report_of_an_unsure_answer_asks_to_look(tmp_path):
    done = aligned(probability=0.7)
    text = write_report(tmp_path, done, drawn_pair(done), None).read_text("utf-8")
    assert "Probably aligned" in text
    assert "sensor_source=origin" in text


def test_text_from_outside_is_escaped(tmp_path):
    done = aligned()
    bad = dataclasses.replace(done.source, name="</script><b>x")
    done = dataclasses.replace(done, source=bad)
    text = write_report(tmp_path, done, drawn_pair(done), None).read_text("utf-8")
    assert "</script><b>x" not in text
    assert "&lt;/script&gt;&lt;b&gt;x" in text


def test_rows_of_hypotheses_say_how_far_they_are_from_the_answer():
    first, second = hypothesis_rows(aligned())
    assert (first.turned_deg, first.shifted, first.relative) == (0, 0, 1)
    assert second.turned_deg == pytest.approx(90)
    assert second.relative == pytest.approx(np.exp(9 - 41.5))
    assert second.violations is None
    assert hypothesis_rows(aligned(finds=False)) == []


def test_page_never_states_a_certainty(tmp_path):
    done = aligned(probability=0.9999)
    pair = drawn_pair(done)
    write_pictures(tmp_path, pair)
    text = write_report(tmp_path, done, pair, None).read_text("utf-8")
    assert text.count("&gt; 0.999") == 3
    assert "1.00 is the stated" not in text


@pytest.mark.parametrize("probability", [0.0, 0.004, 0.5, 0.9995, 1.0])
def test_gauge_is_a_picture_for_any_probability(probability):
    text = str(plots.gauge(probability, accepted=probability > 0.5))
    assert text.startswith("<svg")
    assert "nan" not in text
    assert ("fill" in text.split("dial")[-1]) == (probability > 0.005)


@pytest.mark.parametrize("count", [1, 4, 37, 100_000])
def test_histogram_counts_every_match(count):
    residual = np.linspace(0, 0.8, count)
    text = str(plots.residual_histogram(residual, residual < 0.1, 0.1))
    shown = sum(int(n) for n in re.findall(r"voxels: (\d+)<", text))
    beyond = int(re.search(r"(\d+) beyond", text)[1])
    assert shown + beyond == count
    ticks = re.findall(r'text-anchor="end">(\d+)<', text)
    assert 1 <= len(ticks) <= 7


def test_viewer_holds_both_clouds_and_every_hypothesis():
    done = aligned()
    pair = drawn_pair(done)
    scene, blocks = viewer.scene(pair, done.registration)
    kind = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3), ("distance", "u1")])
    source, target = (
        np.frombuffer(base64.b64decode(blocks[f"bin-{name}"]), kind)
        for name in ("source", "target")
    )
    assert scene["count"] == {"source": len(source), "target": len(target)}
    best = np.array(scene["hypotheses"][0]).reshape(4, 4)
    moved = source["xyz"] @ best[:3, :3].T + best[:3, 3]
    assert abs(moved - target["xyz"]).max() < 1e-6
    given = np.array(scene["before"]).reshape(4, 4)
    back = source["xyz"] @ given[:3, :3].T + given[:3, 3] + pair.target.mean(axis=0)
    assert abs(back - pair.source).max() < 1e-6
    assert len(scene["hypotheses"]) == 2
    assert (source["distance"] == 0).all()
    np.testing.assert_array_equal(source["rgb"], pair.source_rgb)
    json.dumps(scene, allow_nan=False)


def test_distance_byte_ends_in_a_mark_for_beyond():
    xyz = np.zeros((4, 3))
    block = viewer.packed(xyz, None, np.array([0.0, DISTANCE_FULL / 2, DISTANCE_FULL, 9.0]))
    found = np.frombuffer(base64.b64decode(block), np.uint8).reshape(4, 16)[:, 15]
    np.testing.assert_array_equal(found, [0, 127, 254, 255])


def test_scans_far_apart_start_around_one_centre():
    apart = np.array([1e7, 0.0, 0.0])
    far = Rigid3(TRUE.R, TRUE.t + apart)
    done = aligned(target_from_source=far)
    done = dataclasses.replace(done, target=done.target.moved(Rigid3(np.eye(3), apart)))
    scene, _ = viewer.scene(drawn_pair(done), done.registration)
    assert scene["centred"]
    assert abs(np.array(scene["hypotheses"][0])).max() < 5


def test_closing_lines_tell_everything():
    done = aligned()
    lines = "\n".join(closing_lines(done, drawn_pair(done), TrueError(0.5, 0.01)))
    assert "probability: 0.970, accepted" in lines
    assert "overlap: 82 % of the source, rmse 0.0042, 251 of 501 matches agree" in lines
    assert re.search(r"runner-up: 90.0° and \d\.\d+ away, margin 0.78", lines)
    assert "degenerate: sliding along" in lines
    assert "true error: 0.500°, 0.01" in lines
    assert "try:" not in lines
    assert RIVAL is not TRUE


def test_closing_lines_advise_when_the_answer_is_not_accepted():
    done = aligned(probability=0.1)
    giant = dataclasses.replace(done.source, xyz=done.source.xyz * 1000)
    lines = closing_lines(dataclasses.replace(done, source=giant), drawn_pair(done), None)
    text = "\n".join(lines)
    assert "probability: 0.100, NOT accepted: too few matches agree" in text
    assert "try: the source spans" in text
    assert "try: say where the scanner stood (sensor_source=origin sensor_target=origin" in text


SHOWN = ("both", "source", "target", "own", "distance")
STEPS = """
  const share = () => {
    const count = seen => pixels().filter(seen).length;
    return [([r, g, b]) => r > b + 60, ([r, g, b]) => b > r + 60,
      ([r, g, b]) => g > r + 60 && g > b + 60].map(count).join(" ");
  };
  const after = async (selector, name) => {
    const before = viewer.dataset.frames;
    document.querySelector(selector).click();
    for (let i = 0; i < 100 && viewer.dataset.frames === before; i++) await wait(50);
    await wait(100);
    if (name) tell(name, share());
  };
  tell("both", share());
  await after("[data-scan=target]", "source");
  await after("[data-scan=target]");
  await after("[data-scan=source]", "target");
  await after("[data-scan=source]");
  await after("[data-colour='1']", "own");
  await after("[data-colour='2']", "distance");
  await after("[data-show-hypothesis='1']");
  tell("hypothesis", part("hypothesis").value);
  tell("hands", [await press(part("gl"), "ArrowLeft"), await press(part("gl"), "+")].join());
"""


@needs_browser
def test_report_opens_from_disk_without_network_and_draws_both_scans(page, tmp_path):
    told = open_and_probe(page, STEPS, (160, 120), tmp_path)
    orange, blue, green = ({k: int(told[k].split()[i]) for k in SHOWN} for i in range(3))
    assert orange["both"] + blue["both"] > 100, told
    assert orange["source"] > 100 > blue["source"], told
    assert blue["target"] > 100 > orange["target"], told
    assert min(orange["own"], blue["own"], green["own"]) > 50, told
    assert blue["distance"] > 100, told
    assert told["hypothesis"] == "1"
    assert told["hands"] == "true,true"
