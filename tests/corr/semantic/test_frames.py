"""Multi-view frames: read as written, of training cows only, and their depth tells true matches."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PilImage

from corr.errors import UserError
from corr.semantic.datasets.frames import read_sequences
from corr.semantic.learned.shapes import depth_at, lifted, shown
from tests.corr.semantic.conftest import SMALL
from tests.corr.semantic.test_learned_head import grid


def test_frames_are_of_training_cows_only_and_carry_no_key_points(tiny_root):
    sequences = read_sequences(tiny_root / "Frames")
    assert [s.name for s in sequences] == ["cow/000", "cow/001"]
    for sequence in sequences:
        assert len(sequence.frames) == SMALL.frames
        for frame in sequence.frames:
            assert not len(frame.side.uv)
            assert not frame.side.all_ids
            assert frame.depth.shape == (frame.side.height, frame.side.width)


def test_surface_points_of_one_frame_lie_at_their_places_in_the_next(tiny_root):
    """Worlds are turned, scaled and shifted: what stays is what two frames say of one point."""
    for sequence in read_sequences(tiny_root / "Frames"):
        a, b = sequence.frames[:2]
        height, width = a.depth.shape
        v, u = np.mgrid[:height, :width].reshape(2, -1) + 0.5
        uv = np.stack([u, v], 1)[a.depth.ravel() > 0]
        xyz = a.cam_from_world.inverse().apply(a.camera.unproject(uv, depth_at(a, uv)))
        size = np.ptp(xyz, axis=0).max()
        there, seen = shown(b, xyz, 0.02 * size)
        # What b shows there is the same surface point: the depths of both agree in a's frame, too.
        back = b.cam_from_world.inverse().apply(
            b.camera.unproject(there[seen], depth_at(b, there[seen]))
        )
        assert seen.sum() > 20
        assert np.median(np.linalg.norm(back - xyz[seen], axis=1)) < 0.02 * size


def test_cells_are_lifted_where_there_is_depth(tiny_root):
    frame = read_sequences(tiny_root / "Frames")[0].frames[0]
    cells = replace(grid(rows=7, columns=9), first_uv=np.array([4.5, 5.5]))  # no pixel's border
    seen = lifted(frame, cells)
    assert 0 < len(seen.uv) < 63
    uv, visible = shown(frame, seen.xyz, 1e-3)
    assert visible.all()
    np.testing.assert_allclose(uv, seen.uv, atol=1e-6)


def test_wrong_folders_are_refused(tiny_root, tmp_path):
    with pytest.raises(UserError, match=r"no <category>/<sequence>/transforms\.json below"):
        read_sequences(tmp_path)
    shutil.copytree(tiny_root / "Frames", tmp_path / "F")
    file = tmp_path / "F" / "cow" / "000" / "transforms.json"
    record = json.loads(file.read_text())
    PilImage.new("I;16", (3, 4)).save(file.parent / "00_depth.png")
    with pytest.raises(UserError, match=r"is .* pixels, its photo"):
        _ = read_sequences(tmp_path / "F")[0].frames[0].depth
    del record["frames"][0]["depth_file_path"]
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"00\.jpg has no depth_file_path"):
        read_sequences(tmp_path / "F")
