"""`recon export`, `render` and `view` on a finished run in miniature."""

import dataclasses
import importlib.util
import re
import urllib.request

import cv2
import numpy as np
import pytest
import torch

from corr.errors import UserError
from corr.geometry import Sim3
from recon.export.choice import SplatExport
from recon.export.formats import read_any
from recon.export.splat_ply import read_splats
from recon.export_command import export
from recon.options_export import ExportOptions
from recon.options_render import RenderOptions
from recon.options_view import ViewOptions
from recon.render.cpu.renderer import CpuRenderer
from recon.render_command import render
from recon.results import export_formats
from recon.splats.fitted import load_fitted
from recon.splats.transform import moved
from recon.video_file import count_frames, write_video
from recon.view_scene import count_colours, covariances, photos_that_see
from tests.recon.test_options import recon
from tests.recon.view_world import finished_run

SMALL = {"frames": 5, "height": 30, "device": "cpu"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("view") / "run")


@pytest.mark.parametrize("command", ["export", "render", "view"])
def test_help_is_quick_and_shows_every_option(command, tmp_path):
    done, seconds = recon(command, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert seconds < 3
    kind = {"export": ExportOptions, "render": RenderOptions, "view": ViewOptions}[command]
    for field in dataclasses.fields(kind):
        assert re.search(rf"^  {field.name}=\S*\s+\S", done.stdout, re.MULTILINE), field.name


def test_export_prints_how_near_each_format_comes_back(run, tmp_path):
    text = export(ExportOptions(run=str(run), format="ply:spz:splat", out=str(tmp_path)))
    lines = text.splitlines()
    assert lines[0] == "1500 splats, harmonics of degree 1"
    assert lines[1].endswith("rendered: the same")
    assert float(re.search(r"PSNR ([\d.]+) dB$", lines[2])[1]) > 40
    assert {p.name for p in tmp_path.iterdir()} == {"splats.ply", "splats.spz", "splats.splat"}


def test_a_file_of_splats_is_converted_beside_itself(run, tmp_path):
    source = tmp_path / "mine.ply"
    source.write_bytes((run / "4_splats" / "splats.ply").read_bytes())
    export(ExportOptions(splats=str(source), format="compressed"))
    export(ExportOptions(splats=str(tmp_path / "mine.compressed.ply"), format="spz"))
    assert len(read_any(tmp_path / "mine.spz")) == 1500


def test_export_is_moved_by_a_transform_harmonics_too(run, tmp_path):
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = 2 * turn, [1, 2, 3]
    np.savetxt(tmp_path / "t.txt", matrix)
    out = tmp_path / "moved.ply"
    export(
        ExportOptions(run=str(run), format="ply", out=str(out), transform=str(tmp_path / "t.txt"))
    )
    expected = moved(read_splats(run / "4_splats" / "splats.ply"), Sim3(2.0, turn, matrix[:3, 3]))
    np.testing.assert_allclose(read_splats(out).sh, expected.sh, atol=1e-6)
    np.testing.assert_allclose(read_splats(out).means, expected.means, atol=1e-5)


def test_run_exports_the_formats_asked_for_and_the_ply_in_any_case(run, tmp_path):
    saved = load_fitted(run / "4_splats")
    assert export_formats(SplatExport(), saved, tmp_path, CpuRenderer(), 1.0) == ()
    plain = (tmp_path / "splats.ply").read_bytes()
    assert plain == (run / "4_splats" / "splats.ply").read_bytes()
    lines = export_formats(SplatExport("spz:glb"), saved, tmp_path, CpuRenderer(), 1.0)
    assert [line.split(": ")[0][-4:] for line in lines] == [".spz", ".glb"]
    export_formats(SplatExport(pad_degree=3), saved, tmp_path, CpuRenderer(), 1.0)
    assert read_splats(tmp_path / "splats.ply").sh_degree == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "give run=<folder of a finished run> or splats=<file>"),
        ({"run": "nothing"}, "nothing holds no finished run"),
        ({"splats": "no.ply"}, "there is no no.ply"),
        ({"out": "a.spz", "run": True}, "a.spz does not end in .ply as format=ply does"),
        ({"out": "a.ply", "run": True, "format": "ply:spz"}, "is one file; for several formats"),
        ({"transform": "no.txt", "run": True}, "no.txt is no 4 x 4 similarity transform"),
    ],
)
def test_what_cannot_be_exported_is_said(run, changes, message):
    values = {"format": "ply", **changes}
    if values.get("run") is True:
        values["run"] = str(run)
    with pytest.raises(UserError, match=re.escape(message)):
        export(ExportOptions(**values))


def test_render_writes_pictures_and_a_video_that_plays(run, tmp_path):
    text = render(RenderOptions(run=str(run), out=str(tmp_path), fps=12, **SMALL))
    folder = tmp_path / "orbit"
    assert f"5 pictures of 40 x 30: {folder}" in text
    pictures = [cv2.imread(str(folder / f"frame_{i:04d}.png")) for i in range(5)]
    assert all(p.shape == (30, 40, 3) for p in pictures)
    capture = cv2.VideoCapture(str(folder / "orbit.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == 12
    frames = [capture.read()[1] for _ in range(5)]
    assert not capture.read()[0]
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(frames, pictures, strict=True)) < 12


def test_interrupted_render_continues_with_what_is_missing(run, tmp_path, monkeypatch):
    from recon import render_command

    drawn, draw = [], render_command.draw

    def counted(gaussians, view, *rest, **named):
        drawn.append(view.name)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return draw(gaussians, view, *rest, **named)

    monkeypatch.setattr(render_command, "draw", counted)
    options = RenderOptions(run=str(run), out=str(tmp_path), path="spiral", video=False, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        render(options)
    render(options)
    assert drawn == [f"frame_{i:04d}" for i in (0, 1, 2, 2, 3, 4)]
    render(options)  # complete: nothing is drawn again
    assert len(drawn) == 6


def test_render_leaves_other_peoples_folders_alone(run, tmp_path):
    (tmp_path / "orbit").mkdir()
    (tmp_path / "orbit" / "mine.txt").write_text("")
    with pytest.raises(UserError, match="holds something else already"):
        render(RenderOptions(run=str(run), out=str(tmp_path), **SMALL))
    assert (tmp_path / "orbit" / "mine.txt").exists()


def test_missing_encoders_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(cv2.VideoWriter, "isOpened", lambda self: False, raising=False)
    pictures = [np.zeros((30, 40, 3), np.uint8)]
    with pytest.raises(UserError, match="no video encoder works here"):
        write_video(tmp_path / "v.mp4", pictures, (40, 30), 10)


def test_video_by_opencv_plays(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    pictures = [np.full((30, 40, 3), 30 * i, np.uint8) for i in range(7)]
    assert write_video(tmp_path / "v.mp4", pictures, (40, 30), 10) in ("VP9", "MPEG-4")
    assert count_frames(tmp_path / "v.mp4") == 7
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"path": "zigzag"}, "path must be one of orbit, spiral, cameras, got zigzag"),
        ({"frames": 0}, "frames must be 1 or more, got 0"),
        ({"width": 7}, "width must be 0 or 16 or more, got 7"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda, got tpu"),
    ],
)
def test_impossible_render_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        RenderOptions(run="x", **values)


def test_splats_are_counted_in_the_photos_that_see_them(run):
    saved = load_fitted(run / "4_splats")
    counts = photos_that_see(saved.gaussians, saved.views, CpuRenderer())
    assert counts.max() == 3
    xyz = saved.gaussians.means.numpy()
    ball = np.abs(np.linalg.norm(xyz, axis=1) - 0.6) < 1e-3
    behind, front = ball & (xyz[:, 2] > 0.45), ball & (xyz[:, 2] < -0.45)
    assert counts[front].mean() > 2 > 0.5 > counts[behind].mean()
    colours = count_colours(np.array([0, 3]), 3).astype(int)
    assert colours[0, 0] > colours[0, 2] + 50  # red
    assert colours[1, 2] > colours[1, 0] + 50  # blue


def test_covariances_have_the_splats_axes(run):
    g = load_fitted(run / "4_splats").gaussians.select(torch.arange(9))
    values = np.linalg.eigvalsh(covariances(g))
    np.testing.assert_allclose(np.sqrt(values), np.sort(g.scales.numpy(), axis=1), rtol=1e-5)


def test_view_serves_a_page_and_stops(run):
    pytest.importorskip("viser", reason="viser is not installed: pip install '.[view]'")
    import socket

    from recon.view_scene import serve

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = serve(run, "127.0.0.1", port, CpuRenderer())
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.get_port()}", timeout=10) as page:
            assert b"<html" in page.read()
    finally:
        server.stop()


@pytest.mark.skipif(importlib.util.find_spec("viser") is not None, reason="viser is installed")
def test_missing_viser_is_said_in_one_line(run):
    done, seconds = recon("view", f"run={run}", cwd=run)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "recon view: viser is not installed; pip install 'few-view-recon[view]'"
    )
    assert seconds < 3
