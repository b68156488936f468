"""Textures baked from exact photos of a painted still life."""

import json
import shutil
import struct
import subprocess

import numpy as np
import pytest
import trimesh

from recon.export.textured_glb import write_textured_glb
from recon.surface.mesh import Mesh
from recon.texture.bake import exposure_gains, textured
from recon.texture.charts import choose_photos, components, neighbours, packed
from recon.texture.sight import face_scores, sights


def painted(points):
    """Colours in [0, 1] that change within a few pixels, plus one that names the place."""
    waves = 0.5 + 0.3 * np.sin(9 * points) + 0.1 * np.sin(31 * points[..., [1, 2, 0]])
    return np.clip(waves, 0.06, 0.94)


@pytest.fixture(scope="module")
def scene(world):
    """The true surface as the mesh, nine photos of it exposures from 0.9 to 1.1."""
    corners, faces = np.asarray(world.surface.vertices), np.asarray(world.surface.triangles)
    vertices, faces = trimesh.remesh.subdivide_to_size(corners, faces, 0.09)
    solid = trimesh.Trimesh(vertices, faces)  # welded
    mesh = Mesh(solid.vertices, solid.faces, np.full((len(solid.vertices), 3), 128, np.uint8))
    views = world.ring(9, size=(243, 181))
    gains = 1 + 0.1 * np.cos(np.arange(9))
    photos = {}
    for view, gain in zip(views, gains, strict=True):
        double = type(view)("", view.camera.resized(486, 362), view.cam_from_world)
        depth, points = world.renderer.depth(double)
        colour = np.where((depth > 0)[..., None], painted(np.nan_to_num(points, posinf=0)), 0)
        small = colour.reshape(181, 2, 243, 2, 3).mean((1, 3))
        photos[view.name] = np.round(255 * np.clip(gain * small, 0, 1)).astype(np.uint8)
    return mesh, views, photos, gains


@pytest.fixture(scope="module")
def baked(scene):
    mesh, views, photos, _ = scene
    return textured(mesh, sights(mesh, views, photos))


def texels_at(result, faces, shares):
    """Colours (0 to 255) that a viewer shows at barycentric places, and those places."""
    h, w = result.picture.shape[:2]
    uv = (result.uv[faces] * shares[..., None]).sum(1) * [w, h]
    x, y = np.clip(np.floor(uv).astype(int), 0, [w - 1, h - 1]).T
    place = (result.mesh.vertices[result.mesh.faces[faces]] * shares[..., None]).sum(1)
    return result.picture[y, x].astype(float), place


def draws(result, count=20_000, seed=0):
    rng = np.random.default_rng(seed)
    shown = np.flatnonzero(result.photo >= 0)
    area = result.mesh.face_areas[shown]
    faces = rng.choice(shown, count, p=area / area.sum())
    return faces, rng.dirichlet(np.ones(3), count)


def test_texture_holds_the_painted_colours_everywhere(baked, scene):
    colour, place = texels_at(baked, *draws(baked))
    error = np.abs(colour / 255 - painted(place) * np.exp(np.log(scene[3]).mean()))
    assert np.median(error) < 0.02
    assert np.percentile(error, 95) < 0.12


def test_exposures_are_evened_out(scene):
    mesh, views, photos, gains = scene
    found = exposure_gains(mesh, sights(mesh, views, photos))
    expected = 1 / gains
    expected /= np.exp(np.log(expected).mean())
    np.testing.assert_allclose(found, np.tile(expected[:, None], 3), atol=0.01)


def test_no_seam_shows_where_charts_meet(baked):
    """Both sides of an edge between two charts say the same, as far as texels can."""
    mesh = baked.mesh
    pairs = neighbours(mesh.faces)
    seam = pairs[(baked.photo[pairs[:, 0]] != baked.photo[pairs[:, 1]])
                 & (baked.photo[pairs] >= 0).all(1)]  # fmt: skip
    assert len(seam) > 300
    ends = [np.intersect1d(*mesh.faces[pair]) for pair in seam]
    keep = [len(e) == 2 for e in ends]
    seam, ends = seam[keep], np.array([e for e in ends if len(e) == 2])
    sides = []
    for face in seam.T:
        shares = (mesh.faces[face][:, :, None] == ends[:, None, :]).any(2) / 2.0
        sides.append(texels_at(baked, face, shares)[0])
    across = np.abs(sides[0] - sides[1])
    assert np.median(across) <= 3.0
    assert np.percentile(across, 95) < 20.0


def test_what_stands_in_front_does_not_bleed_onto_what_is_behind(baked):
    """The floor beside the balls has the floor's paint, though balls hide it in some photos."""
    floor = np.abs(baked.mesh.vertices[baked.mesh.faces][..., 2]).max(1) < 1e-6
    faces, shares = draws(baked, 60_000)
    keep = floor[faces]
    colour, place = texels_at(baked, faces[keep], shares[keep])
    near = np.linalg.norm(place[:, :2] - [-0.4, 0.2], axis=1) < 0.7
    assert near.sum() > 2000
    assert np.percentile(np.abs(colour[near] / 255 - painted(place[near])), 95) < 0.15


def test_faces_that_no_photo_sees_keep_the_mesh_s_colour(baked):
    hidden = np.flatnonzero(baked.photo < 0)
    assert len(hidden) > 50  # undersides
    colour, _ = texels_at(baked, hidden, np.full((len(hidden), 3), 1 / 3))
    np.testing.assert_array_equal(colour, 128)


def test_charts_do_not_overlap(baked):
    """No texel is covered by two faces of different charts: their corners' boxes keep apart."""
    h, w = baked.picture.shape[:2]
    chart = components(baked.photo, neighbours(baked.mesh.faces))
    shown = baked.photo >= 0
    uv = baked.uv * [w, h]
    names, member = np.unique(chart[shown], return_inverse=True)
    low, high = np.full((len(names), 2), np.inf), np.full((len(names), 2), -np.inf)
    for k in range(3):
        np.minimum.at(low, member, uv[shown, k])
        np.maximum.at(high, member, uv[shown, k])
    apart = ((low[:, None] >= high[None]) | (high[:, None] <= low[None])).any(2)
    np.fill_diagonal(apart, True)
    assert apart.all()
    assert (low >= 0).all()
    assert (high <= [w, h]).all()


def test_boxes_are_packed_without_overlap():
    boxes = np.random.default_rng(1).integers(1, 40, (150, 2))
    places, width, height = packed(boxes)
    used = np.zeros((height, width), int)
    for (x, y), (w, h) in zip(places, boxes, strict=True):
        used[y : y + h, x : x + w] += 1
    assert used.max() == 1
    assert used.sum() == boxes.prod(1).sum()
    assert used.mean() > 0.7


def test_a_face_takes_its_neighbours_photo_when_little_is_lost():
    """A strip of faces, seen equally by two photos but for one face in the middle."""
    scores = np.full((2, 41), 10.0)
    scores[1] = 9.9
    scores[1, 20] = 10.5
    pairs = np.stack([np.arange(40), np.arange(1, 41)], axis=1)
    assert (choose_photos(scores, pairs) == 0).all()
    scores[0, 20] = 0.0  # photo 0 does not see it at all
    assert choose_photos(scores, pairs)[20] == 1
    scores[:, 20] = 0.0
    assert choose_photos(scores, pairs)[20] == -1


def test_hidden_faces_score_nothing(scene):
    mesh, views, photos, _ = scene
    scores = face_scores(mesh, sights(mesh, views, photos))
    middle = mesh.vertices[mesh.faces].mean(1)
    below = (middle[:, 2] < -0.09) & (np.abs(middle[:, :2]).max(1) < 1.4)
    assert below.sum() > 10
    assert scores[:, below].max() == 0
    top = (middle[:, 2] > 0.9) & (np.hypot(*(middle[:, :2] - [-0.4, 0.2]).T) < 0.05)
    assert top.sum() > 100
    assert (scores[:, top] > 0).all()  # nothing stands between it and any of the nine


def glb_parts(path):
    data = path.read_bytes()
    magic, version, size, length = struct.unpack_from("<4sIII", data)
    assert (magic, version, size) == (b"glTF", 2, len(data))
    tree = json.loads(data[20 : 20 + length])
    return tree, data[28 + length :]


def test_glb_is_sound_and_opens_with_its_texture(baked, tmp_path):
    size = write_textured_glb(tmp_path / "m.glb", baked)
    assert size == pytest.approx((tmp_path / "m.glb").stat().st_size / 1e6)
    tree, body = glb_parts(tmp_path / "m.glb")
    for view in tree["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] + view["byteLength"] <= tree["buffers"][0]["byteLength"]
    assert tree["buffers"][0]["byteLength"] == len(body)
    loaded = trimesh.load(tmp_path / "m.glb", process=False).to_geometry()
    assert len(loaded.faces) == len(baked.mesh.faces)
    np.testing.assert_allclose(loaded.bounds[0], baked.mesh.vertices.min(0), atol=1e-6)
    image = np.asarray(loaded.visual.material.baseColorTexture.convert("RGB")).astype(float)
    assert image.shape == baked.picture.shape
    faces, shares = draws(baked, 5000)
    uv = (loaded.visual.uv[loaded.faces[faces]] * shares[..., None]).sum(1)
    h, w = image.shape[:2]  # trimesh turns v upward
    shown = image[np.floor((1 - uv[:, 1]) * h).astype(int), np.floor(uv[:, 0] * w).astype(int)]
    assert np.median(np.abs(shown - texels_at(baked, faces, shares)[0])) < 6


def test_glb_keeps_its_limit_by_a_smaller_texture(baked, tmp_path):
    full = write_textured_glb(tmp_path / "full.glb", baked, max_mb=50.0)
    geometry = full - len_of_picture(tmp_path / "full.glb")
    limit = geometry + 0.4 * (full - geometry)
    assert write_textured_glb(tmp_path / "small.glb", baked, max_mb=limit) <= limit
    with pytest.raises(ValueError, match=r"leaves no room for a texture in 0.1 MB; lower mesher"):
        write_textured_glb(tmp_path / "no.glb", baked, max_mb=0.1)


def len_of_picture(path):
    tree, _ = glb_parts(path)
    return tree["bufferViews"][tree["images"][0]["bufferView"]]["byteLength"] / 1e6


def test_khronos_validator_finds_no_error(baked, tmp_path):
    """Runs where node and the npm package gltf-validator are installed globally."""
    node = shutil.which("node")
    found = node and subprocess.run(
        [node, "-e", "require('gltf-validator')"], capture_output=True, cwd=tmp_path
    )
    if not node or found.returncode:
        pytest.skip("node with the npm package gltf-validator is not here")
    write_textured_glb(tmp_path / "m.glb", baked)
    script = (
        "const v=require('gltf-validator'),f=require('fs');v.validateBytes(new Uint8Array("
        "f.readFileSync('m.glb'))).then(r=>console.log(JSON.stringify(r.issues)))"
    )
    done = subprocess.run([node, "-e", script], capture_output=True, text=True, cwd=tmp_path)
    issues = json.loads(done.stdout)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues


def test_no_triangles_are_refused(scene):
    with pytest.raises(ValueError, match="mesh must have triangles to be textured"):
        textured(Mesh.empty(), [])
