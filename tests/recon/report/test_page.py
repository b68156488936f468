import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image as PilImage
from report_world import LOST

from recon.report.metrics import Metrics
from recon.report.page import write_report

SECTIONS = {
    "view", "photos", "renders", "heldout", "cameras", "matches", "training", "mesh", "cost",
    "files", "protocol",
}  # fmt: skip


class Page(HTMLParser):
    """Elements, their attributes, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.skipped = [], [], None
        self.scripts = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.skipped = tag
            if tag == "script":
                self.scripts.append("")

    def handle_endtag(self, tag):
        if tag == self.skipped:
            self.skipped = None

    def handle_data(self, data):
        if self.skipped == "script":
            self.scripts[-1] += data
        elif self.skipped is None:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).replace("\u202f", " ").split())

    def ids(self):
        return {attrs["id"] for _, attrs in self.elements if "id" in attrs}


@pytest.fixture
def report(new_run):
    run = new_run()
    path = write_report(run)
    return run, path.read_text(encoding="utf-8")


def test_report_names_no_outside_address_and_no_missing_file(report):
    run, text = report
    for tag, attrs in Page(text).elements:
        for key in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
            value = attrs.get(key)
            if value is None or value.startswith(("data:", "#")):
                continue
            assert (tag, key) == ("a", "href"), f"{tag} {key}={value[:60]} would be fetched"
            assert (run / value).exists(), value
    style = re.search(r"<style>(.*?)</style>", text, re.S).group(1)
    assert all(u.startswith("data:") for u in re.findall(r"url\(([^)]*)", style))
    assert "@import" not in style
    assert not re.findall(r"https?:", text)


def test_report_has_every_section_and_figure(report):
    page = Page(report[1])
    assert page.ids() >= SECTIONS
    for part in ("24.61 dB", "31.50 dB", "4 000", "3 min 36 s", "1.56 GB", "0.080°", "held.png",
                 "Median pair", "one plane explains", "nowhere.png", "seed 7",
                 "0123456789abcdef", "a note"):  # fmt: skip
        assert part in page.text, part
    assert "absent" not in {attrs.get("class") for _, attrs in page.elements}


def test_text_from_outside_is_escaped(report):
    page = Page(report[1])
    assert not any("alert(" in script for script in page.scripts)
    assert LOST in page.text
    assert "only 3 matches <b>& no hope</b>" in page.text
    assert "photos=<b>x</b>" in page.text
    assert "name: </pre><script>alert(2)</script>" in page.text


def test_report_of_five_photos_is_small(report):
    assert len(report[1]) < 3e6


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("0_photos", "photos.json is not in the run folder"),
        ("1_matches", "No matches are in the run folder"),
        ("2_cameras", "No cameras were solved"),
        ("4_splats/history.json", "No training history was recorded"),
        ("renders", "No renders were written"),
        ("held_out", "no pictures were written"),
    ],
)
def test_missing_part_is_said(new_run, lost, said):
    run = new_run(num=3, splats=300)
    path = run / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert said in page.text
    assert page.ids() >= SECTIONS


def test_run_without_truth_held_out_photos_and_mesh_says_so(new_run, edit_metrics):
    run = new_run(num=3, splats=300)
    edit_metrics(
        run, held_out=None, cameras=None, surface=None, mesh=None, training=None, stages=[]
    )
    shutil.rmtree(run / "5_mesh")
    page = Page(write_report(run).read_text(encoding="utf-8"))
    for said in ("No photo was held out", "true cameras of these photos are not known",
                 "No mesh was made", "No stage was timed"):  # fmt: skip
        assert said in page.text


def test_run_folder_with_metrics_only_still_makes_a_page(new_run, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(new_run(num=3, splats=300) / "metrics.json", alone)
    page = Page(write_report(alone).read_text(encoding="utf-8"))
    assert "There is nothing to show in 3-D" in page.text
    assert "photos.json is not in the run folder" in page.text


def test_damaged_splats_are_named_in_the_page(new_run):
    run = new_run(num=3, splats=300)
    (run / "4_splats/splats.ply").write_bytes(b"ply\nformat ascii 1.0\nend_header\n")
    assert "splats: could not be read" in Page(write_report(run).read_text("utf-8")).text


def test_thinned_splats_are_said(new_run, monkeypatch):
    from recon.report import viewer

    run = new_run(num=3, splats=300)
    monkeypatch.setattr(viewer.pack_splats, "__defaults__", (100,))
    assert "visually largest 100 of 300 splats" in Page(write_report(run).read_text("utf-8")).text


def test_photos_of_every_status_are_in_the_table(report):
    page = Page(report[1])
    pills = [a["class"] for _, a in page.elements if a.get("class", "").startswith("pill")]
    assert sorted(pills) == ["pill heldout"] * 2 + ["pill left"] + ["pill placed"] * 5


def test_notes_of_null_figures_reach_the_page(new_run):
    run = new_run(num=3, splats=300)
    metrics = Metrics.read(run)
    broken = dataclasses.replace(metrics.held_out, ssim=float("nan"))
    dataclasses.replace(metrics, held_out=broken).write(run)
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert "held_out.ssim was nan, written as null" in page.text
    assert json.loads((run / "metrics.json").read_text())["held_out"]["ssim"] is None


def test_coverage_is_stated_with_its_pictures(new_run):
    run = new_run(num=3, splats=300)
    said = "only <b>p1.jpg</b> sees 3.1 % of the surface"
    (run / "5_mesh/coverage.json").write_text(json.dumps({"statement": [said, "no holes"]}))
    for name in ("photos", "angle", "sigma"):
        PilImage.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(
            run / f"5_mesh/coverage_{name}.png"
        )
    text = write_report(run).read_text(encoding="utf-8")
    assert "only &lt;b&gt;p1.jpg&lt;/b&gt; sees 3.1 % of the surface" in text
    assert text.count('alt="coverage by ') == 3
    (run / "5_mesh/coverage.json").write_text("{}")
    damaged = write_report(run).read_text(encoding="utf-8")
    assert "coverage: could not be read" in damaged
