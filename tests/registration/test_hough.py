"""The whole registrar on clouds, and each of its pieces on what can be checked by hand."""

from dataclasses import replace

import numpy as np
import pytest
from fragment_world import VOXEL, fragment, poses, room
from scipy.spatial.transform import Rotation

from corr.geometry.rigid import Rigid3, rotation_angle
from registration.api import align
from registration.cloud import PointCloud
from registration.confidence import share_among
from registration.degeneracy import degeneracies
from registration.features.fpfh import mirrored, multi_scale_fpfh
from registration.hough import HoughRegistrar
from registration.matching import match_features
from registration.neighbours import within_radius
from registration.prepare import prepare
from registration.refine import uncertainty
from registration.scale import choose_voxel
from registration.verify import RangeImage, surface_fit
from registration.viewpoint import infer_viewpoint


@pytest.fixture(scope="module")
def clouds():
    """Two fragments of a room, each in its own frame, and the truth between them."""
    world, (first, *_, last) = room(), poses(4)
    a, b = (PointCloud(fragment(world, p), sensor=np.zeros(3)) for p in (first, last))
    return a, b, last.inverse() @ first


@pytest.fixture(scope="module")
def prepared(clouds):
    registrar = HoughRegistrar()
    return [registrar.prepare(c, VOXEL) for c in clouds[:2]]


def errors(found: Rigid3, true: Rigid3) -> tuple[float, float]:
    turn = np.degrees(rotation_angle(found.R @ true.R.T))
    return float(turn), float(np.linalg.norm(found.t - true.t))


def test_fragments_are_aligned_and_the_answer_carries_its_evidence(clouds, prepared):
    answer = HoughRegistrar().register(*prepared)
    turn, shift = errors(answer.target_from_source, clouds[2])
    assert turn < 1.0
    assert shift < VOXEL
    assert answer.accepted
    assert answer.reason == ""
    assert answer.inlier.sum() >= 20
    assert len(answer.inlier) == len(answer.matches)
    scores = [h.score for h in answer.hypotheses]
    assert scores == sorted(scores, reverse=True)
    assert answer.covariance.shape == (6, 6)
    assert (np.linalg.eigvalsh(answer.covariance) > 0).all()


@pytest.mark.parametrize("offset", [(0.0, 0.0, 0.0), (12.0, -9.0, 4.0), (1000.0, 2000.0, 50.0)])
def test_errors_agree_with_the_covariance_wherever_the_origin_lies(clouds, offset):
    """The covariance is that of the overlap's centre: read about another point it is far off."""
    away = Rigid3(np.eye(3), np.array(offset))
    source, target = clouds[0], clouds[1].moved(away)
    chi2 = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        a, b = (
            replace(c, xyz=c.xyz + rng.normal(0, 0.005, c.xyz.shape)) for c in (source, target)
        )
        answer = align(a, b, voxel=VOXEL).registration
        error = away @ clouds[2] @ answer.target_from_source.inverse()  # of the target's frame
        about = answer.covariance_about
        shift = error.apply(about) - about
        v = np.concatenate([Rotation.from_matrix(error.R).as_rotvec(), shift])
        chi2.append(v @ np.linalg.solve(answer.covariance, v) / 6)
    assert 0.01 < np.mean(chi2) < 2.0  # neighbours err together, so it is conservative here


def noisy_pair(draw):
    """Two samplings of one shape with noise, the second moved; and the motion."""
    rng = np.random.default_rng(0)
    motion = Rigid3(Rotation.from_rotvec([0.4, -0.9, 0.7]).as_matrix(), np.array([0.5, 1, -2]))
    first, second = (xyz + rng.normal(0, 0.004, xyz.shape) for xyz in (draw(rng), draw(rng)))
    return first, motion.apply(second), motion


def ball(rng):
    xyz = rng.normal(size=(8000, 3))
    return xyz / np.linalg.norm(xyz, axis=1)[:, None]


def sheet(rng):
    return np.c_[rng.uniform(-1, 1, (8000, 2)), np.zeros(8000)]


def corridor(rng):
    """A floor and two walls, four times as long as wide."""
    along, across = rng.uniform(-4, 4, 12000), rng.uniform(-1, 1, 12000)
    side = rng.integers(0, 3, 12000)
    y = np.where(side == 0, across, np.where(side == 1, -1.0, 1.0))
    return np.c_[along, y, np.where(side == 0, 0.0, across + 1)]


def three_faces(rng):
    """A cube's corner, which looks the same after a third of a turn."""
    xyz = rng.uniform(0, 1, (9000, 3))
    xyz[np.arange(9000), rng.integers(0, 3, 9000)] = 0
    return xyz


@pytest.mark.parametrize(
    ("draw", "kinds"),
    [
        (ball, {"turning"}),
        (sheet, {"sliding", "turning"}),
        (corridor, {"sliding"}),
    ],
)
def test_what_the_overlap_leaves_open_lowers_the_probability(draw, kinds):
    source, target, _ = noisy_pair(draw)
    answer = align(PointCloud(source), PointCloud(target)).registration
    assert not answer.accepted
    assert answer.probability < 0.45
    if answer.degeneracies:
        assert kinds <= {d.kind for d in answer.degeneracies}
        assert max(d.sigma for d in answer.degeneracies) > 0.5  # the size of the shape
        assert "left open" in answer.reason
        widest = np.sqrt(np.linalg.eigvalsh(answer.covariance)[-1])
        assert widest > 0.3


def test_answers_that_fit_alike_share_the_probability():
    source, target, _ = noisy_pair(three_faces)
    answer = align(PointCloud(source), PointCloud(target)).registration
    assert len(answer.hypotheses) > 1
    assert answer.probability < 0.75
    scores = np.array([h.score for h in answer.hypotheses])
    assert answer.probability <= share_among(scores) + 1e-12


def test_no_unit_is_special(clouds):
    """Millimetres, kilometres and beyond: the same rotation, the shift in the unit."""
    found = []
    for unit in (1.0, 1e-6, 1e3, 1e9):
        a, b = (c.moved(Rigid3.identity(), unit) for c in clouds[:2])
        answer = align(a, b, voxel=unit * VOXEL).registration
        found.append((answer.target_from_source, unit))
    for motion, unit in found[1:]:
        np.testing.assert_allclose(motion.R, found[0][0].R, atol=1e-6)
        np.testing.assert_allclose(motion.t / unit, found[0][0].t, atol=1e-6)


def test_swapped_clouds_give_the_inverse(prepared, clouds):
    answer = HoughRegistrar().register(prepared[1], prepared[0])
    turn, shift = errors(answer.target_from_source, clouds[2].inverse())
    assert turn < 1.0
    assert shift < VOXEL


def test_same_seed_gives_the_same_bits_with_any_number_of_threads(clouds):
    import numba

    answers = []
    for threads in (1, 2):
        if threads > numba.config.NUMBA_NUM_THREADS:
            pytest.skip("numba was started with one thread")
        numba.set_num_threads(threads)
        registrar = HoughRegistrar()
        ready = [registrar.prepare(c, VOXEL) for c in clouds[:2]]
        answers.append(registrar.register(*ready, seed=3).matrix)
    assert np.array_equal(*answers)


def test_answer_moves_with_the_clouds(clouds):
    """Another frame and a large offset for the source: the same alignment."""
    a, b, true = clouds
    move = Rigid3(Rotation.random(random_state=2).as_matrix(), np.array([40.0, -7.0, 12.0]))
    registrar = HoughRegistrar()
    ready = registrar.prepare(a.moved(move), VOXEL), registrar.prepare(b, VOXEL)
    turn, shift = errors(registrar.register(*ready).target_from_source @ move, true)
    assert turn < 1.0
    assert shift < VOXEL


def test_unknown_sensor_is_inferred(clouds):
    a, b, true = clouds
    registrar = HoughRegistrar()
    ready = [registrar.prepare(replace(c, sensor=None), VOXEL) for c in (a, b)]
    assert {r.orientation for r in ready} <= {"inferred", "ambiguous"}
    turn, shift = errors(registrar.register(*ready).target_from_source, true)
    assert turn < 1.0
    assert shift < VOXEL


@pytest.mark.parametrize(
    "options",
    [
        {"descriptor": "learned"},
        {"peak_scores": "learned"},
        {"votes": "pairs"},
        {"votes": "points"},
    ],
)
def test_other_choices_find_the_same_alignment(clouds, options):
    registrar = HoughRegistrar(**options)
    ready = [registrar.prepare(c, VOXEL) for c in clouds[:2]]
    turn, shift = errors(registrar.register(*ready).target_from_source, clouds[2])
    assert turn < 1.0
    assert shift < VOXEL


def test_clouds_of_different_places_are_not_accepted(clouds, prepared):
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(4000, 3))
    ball *= (1 + 0.2 * np.sin(3 * ball[:, :1])) / np.linalg.norm(ball, axis=1, keepdims=True)
    registrar = HoughRegistrar()
    other = registrar.prepare(PointCloud(ball, sensor=np.array([0, 0, 9.0])), VOXEL)
    answer = registrar.register(prepared[0], other)
    assert not answer.accepted
    assert answer.reason


def test_plane_is_free_to_slide_and_turn():
    rng = np.random.default_rng(1)
    xyz = np.c_[rng.uniform(-1, 1, (3000, 2)), rng.normal(0, 0.002, 3000)]
    ready = prepare(PointCloud(xyz, sensor=np.array([0, 0, 2.0])), 0.1, (4.0,))
    u = uncertainty(ready.surface, ready.surface, np.eye(3), np.zeros(3), near=0.15)
    free = degeneracies(u)
    assert sorted(d.kind for d in free) == ["sliding", "sliding", "turning"]
    turning = next(d for d in free if d.kind == "turning")
    assert abs(turning.axis[2]) > 0.99
    assert all(abs(d.axis[2]) < 0.1 for d in free if d.kind == "sliding")


def test_cylinder_is_free_along_and_about_its_axis():
    rng = np.random.default_rng(2)
    angle, z = rng.uniform(0, 2 * np.pi, 6000), rng.uniform(-1, 1, 6000)
    xyz = np.c_[0.5 * np.cos(angle) + 3, 0.5 * np.sin(angle), z]
    ready = prepare(PointCloud(xyz, sensor=np.array([9.0, 0, 0])), 0.1, (4.0,))
    u = uncertainty(ready.surface, ready.surface, np.eye(3), np.zeros(3), near=0.15)
    free = degeneracies(u)
    assert sorted(d.kind for d in free) == ["sliding", "turning"]
    assert all(abs(d.axis[2]) > 0.99 for d in free)


def test_room_corner_is_not_degenerate(prepared):
    u = uncertainty(
        prepared[0].surface, prepared[0].surface, np.eye(3), np.zeros(3), near=1.5 * VOXEL
    )
    assert degeneracies(u) == ()


def test_descriptors_do_not_change_with_the_frame():
    rng = np.random.default_rng(3)
    xyz, normals = rng.uniform(-1, 1, (203, 3)), rng.normal(size=(203, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    R = Rotation.random(random_state=4).as_matrix()
    one = multi_scale_fpfh(xyz, normals, (1.0, 2.0))
    two = multi_scale_fpfh(xyz @ R.T + 5.0, normals @ R.T, (1.0, 2.0))
    # Float32 angles near a bin's border may share their count a little differently.
    assert np.abs(one - two).max() < 0.02
    np.testing.assert_allclose((one**2).sum(1), 1.0, atol=1e-5)


def test_turned_normals_mirror_the_descriptors():
    rng = np.random.default_rng(5)
    xyz, normals = rng.normal(size=(151, 3)), rng.normal(size=(151, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    turned = multi_scale_fpfh(xyz, -normals, (1.5,))
    assert np.abs(turned - mirrored(multi_scale_fpfh(xyz, normals, (1.5,)))).max() < 0.02


def test_neighbours_equal_a_tree_search():
    from scipy.spatial import cKDTree

    xyz = np.random.default_rng(6).uniform(0, 1, (307, 3))
    start, index, distance = within_radius(xyz, 0.2)
    for i, found in enumerate(cKDTree(xyz).query_ball_point(xyz, 0.2)):
        mine = slice(start[i], start[i + 1])
        assert index[mine].tolist() == sorted(set(found) - {i})
        np.testing.assert_allclose(
            distance[mine], np.linalg.norm(xyz[index[mine]] - xyz[i], axis=1), atol=1e-5
        )


def test_matches_equal_a_dense_computation_across_blocks(monkeypatch):
    import registration.matching as matching

    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(103, 9)), rng.normal(size=(77, 9))
    square = ((a[:, None] - b[None]) ** 2).sum(-1)
    monkeypatch.setattr(matching, "BLOCK", 17)
    found = match_features(a, b)
    forward, backward = square.argmin(1), square.argmin(0)
    rows = np.flatnonzero(backward[forward] == np.arange(103))
    assert found.source.tolist() == rows.tolist()
    assert found.target.tolist() == forward[rows].tolist()
    two = match_features(a, b, per_point=2, mutual=False)
    assert len(two) > 2 * 77
    assert len(match_features(a, b, max_ratio=0.7)) < len(found)
    assert len(match_features(a[:0], b)) == 0


def test_free_space_is_violated_by_what_hides_a_seen_surface():
    wall = np.c_[np.full(3600, 2.0), np.mgrid[-1:1:60j, -1:1:60j].reshape(2, -1).T]
    image = RangeImage.of(wall, np.zeros(3))
    places = np.array([[1.0, 0, 0], [3.0, 0, 0], [0, 5.0, 0]])  # before, behind, beside it
    assert image.in_front(places, 0.1).tolist() == [True, False, False]


@pytest.mark.parametrize("axis", [(0, 0, 1), (0, 0, -1), (1, 0, 0), (1, 1, 1), (0, 1, -1)])
def test_no_direction_of_a_range_image_is_special(axis):
    """A small patch is seen in so many directions, wherever the sensor looks."""
    rng = np.random.default_rng(0)
    towards = np.array(axis) / np.linalg.norm(axis)
    patch = towards + 0.1 * rng.uniform(-1, 1, (4000, 3))
    image = RangeImage.of(3 * patch / np.linalg.norm(patch, axis=1, keepdims=True), np.zeros(3))
    assert image.in_front(patch, 0.5).all()
    assert not image.in_front(-patch, 0.5).any()
    assert not image.in_front(4 * patch, 0.5).any()
    around = rng.normal(size=(100_000, 3))
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    solid_angle = image.in_front(around, 0.5).mean() * 4 * np.pi
    assert 0.05 < solid_angle < 0.12  # the patch of 0.05, and a cell of 1.5 degrees around it
    twice = image.scaled(2.0)
    assert twice.in_front(2 * patch, 0.5).all()
    assert not twice.in_front(8 * patch, 0.5).any()


def test_true_alignment_fits_better_than_a_shifted_one(clouds, prepared):
    a, b = prepared
    local = clouds[2].R, clouds[2].t - b.centre + clouds[2].R @ a.centre
    good = surface_fit(a.surface, b.surface, *local, near=1.5 * VOXEL)
    shifted = (local[0], local[1] + [0.5, 0.3, 0.4])
    bad = surface_fit(a.surface, b.surface, *shifted, near=1.5 * VOXEL)
    assert good.overlap > 2 * bad.overlap
    assert good.violations < bad.violations


def test_viewpoint_lies_on_the_seen_side_of_a_room():
    """Inside a box every wall is seen from within."""
    rng = np.random.default_rng(8)
    xyz = rng.uniform(-1, 1, (3000, 3))
    side = rng.integers(0, 3, 3000)
    normals = np.zeros((3000, 3))
    normals[np.arange(3000), side] = rng.choice([-1.0, 1.0], 3000)
    xyz[np.arange(3000), side] = rng.choice([-1.0, 1.0], 3000)
    place, _ = infer_viewpoint(xyz, normals, 0.05)
    assert (np.abs(place) < 1).all()


@pytest.mark.parametrize("unit", [0.001, 1.0, 1000.0])
def test_voxel_follows_the_unit(unit):
    a = PointCloud(unit * room())
    scale = choose_voxel(a, a)
    assert scale.voxel / unit == pytest.approx(
        choose_voxel(PointCloud(room()), PointCloud(room())).voxel, rel=0.02
    )
    assert "voxel" in scale.text()


def test_voxel_keeps_the_number_of_voxels_bounded():
    rng = np.random.default_rng(9)
    flat = PointCloud(np.c_[rng.uniform(0, 50, (200_000, 2)), np.zeros(200_000)])
    assert choose_voxel(flat, flat).occupied <= 6000


def test_unfit_scales_are_refused():
    spot = PointCloud(np.zeros((50, 3)))
    with pytest.raises(ValueError, match="all points lie in one place"):
        choose_voxel(spot, spot)
    cloud = PointCloud(room())
    with pytest.raises(ValueError, match="voxel must be well below the clouds' extent"):
        choose_voxel(cloud, cloud, 50.0)
    with pytest.raises(ValueError, match="voxels of 6 are occupied"):
        prepare(cloud, 6.0, (4.0,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_probability": 1.5}, "min_probability must be 0 to 1"),
        ({"radii": [1.0]}, "radii must be 2 voxels or more"),
        ({"cliques": 0}, "cliques must be 1 or more"),
        ({"descriptor": "shot"}, "descriptor must be one of auto, fpfh, learned, given, got shot"),
        ({"peak_scores": "max"}, "peak_scores must be one of mass, learned, got max"),
    ],
)
def test_unfit_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HoughRegistrar(**options)
