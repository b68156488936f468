"""Votes on rigid motions: synthetic matches with known truth, and the special rotations."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from registration.compatibility import Pairing, compatibility_graph, strongest_cliques
from registration.kabsch import kabsch, robust_fit
from registration.voting.hypotheses import VoteSettings, hypothesise
from registration.voting.peaks import mean_motion, peaks
from registration.voting.proposals import SPINS, from_points
from registration.voting.space import rotation_vectors, vote

SIGMA = 0.01  # of the noise, in a cube of edge 1


def matches(rng, n, outliers, R, t, sigma=SIGMA):
    """Matched points of a unit cube, a share of them wrong."""
    source = rng.uniform(-0.5, 0.5, (n, 3))
    target = source @ R.T + t + rng.normal(0, sigma, (n, 3))
    wrong = rng.permutation(n)[: round(outliers * n)]
    target[wrong] = rng.uniform(-0.87, 0.87, (len(wrong), 3)) + t
    return Pairing(source, target)


def angle_deg(a, b):
    return np.degrees(Rotation.from_matrix(a @ b.T).magnitude())


def settings(voxel=2.5 * SIGMA):
    return VoteSettings(voxel, shortest=10.0)


@pytest.mark.parametrize("outliers", [0.0, 0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("n", [101, 1003])
def test_motion_is_found_among_wrong_matches(n, outliers):
    rng = np.random.default_rng(n)
    R, t = Rotation.random(random_state=3).as_matrix(), rng.uniform(-1, 1, 3)
    if n * (1 - outliers) < 8:
        outliers = 0.9
    best = hypothesise(matches(rng, n, outliers, R, t), settings())[0]
    assert angle_deg(best.R, R) < 2.0  # 5 true matches of noise 0.01 over a unit cube
    assert np.linalg.norm(best.t - t) < 0.02


@pytest.mark.parametrize("seed", range(5))
def test_motion_is_found_among_99_percent_wrong_matches(seed):
    rng = np.random.default_rng(seed)
    R, t = Rotation.random(random_state=seed).as_matrix(), rng.uniform(-1, 1, 3)
    best = hypothesise(matches(rng, 5000, 0.99, R, t), settings())[0]
    assert angle_deg(best.R, R) < 2.0
    assert np.linalg.norm(best.t - t) < 0.02


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 2, -1)])
@pytest.mark.parametrize("degrees", [0.0, 179.9, 180.0])
def test_rotations_at_the_ends_of_the_ball_are_found(axis, degrees):
    rng = np.random.default_rng(1)
    unit = np.array(axis) / np.linalg.norm(axis)
    R = Rotation.from_rotvec(np.radians(degrees) * unit).as_matrix()
    best = hypothesise(matches(rng, 301, 0.5, R, np.zeros(3)), settings())[0]
    assert angle_deg(best.R, R) < 0.5


def test_votes_around_180_degrees_fall_into_one_peak():
    """Noise throws them to both ends of the ball; the ghosts bring them together."""
    rng = np.random.default_rng(2)
    half = Rotation.from_rotvec([0, 0, np.pi]).as_matrix()
    R = Rotation.from_rotvec(rng.normal(0, 0.02, (200, 3))).as_matrix() @ half
    weights = np.ones(200)
    space = vote(R, np.zeros((200, 3)), weights, rotation_bin=0.15, translation_bin=0.1)
    found = peaks(space, R, np.zeros((200, 3)), weights, count=3, angle=0.3, distance=0.1)
    assert len(found.R) == 1
    assert angle_deg(found.R[0], half) < 3.0  # of votes that scatter by 1.1 degrees per axis


def test_of_two_motions_the_larger_wins():
    rng = np.random.default_rng(4)
    first, second = (Rotation.random(random_state=k).as_matrix() for k in (5, 6))
    a = matches(rng, 300, 0.0, first, np.array([0.1, 0, 0]))
    b = matches(rng, 180, 0.0, second, np.array([-0.3, 0.2, 0]))
    both = Pairing(np.vstack([a.source, b.source]), np.vstack([a.target, b.target]))
    found = hypothesise(both, settings())
    assert angle_deg(found[0].R, first) < 0.5
    assert found[0].inlier[:300].mean() > 0.95
    assert not found[0].inlier[300:].any()


@pytest.mark.parametrize("smaller", [150, 40])
def test_a_second_motion_is_found_behind_a_dominant_one(smaller):
    """Its few edges must not be crowded out by the many of the first; wrong matches around."""
    rng = np.random.default_rng(5)
    first, second = (Rotation.random(random_state=k).as_matrix() for k in (7, 8))
    a = matches(rng, 1500, 0.5, first, np.array([0.1, 0, 0]))
    b = matches(rng, smaller, 0.0, second, np.array([-0.3, 0.2, 0]))
    both = Pairing(np.vstack([a.source, b.source]), np.vstack([a.target, b.target]))
    found = hypothesise(both, settings())
    assert angle_deg(found[0].R, first) < 0.5
    assert min(angle_deg(c.R, second) for c in found[:5]) < 1.0


def test_mirrored_copy_is_not_mistaken_for_a_rotation():
    rng = np.random.default_rng(7)
    source = rng.uniform(-0.5, 0.5, (200, 3))
    found = hypothesise(Pairing(source, source * [-1, 1, 1]), settings())
    assert not found or found[0].support < 50
    assert all(np.linalg.det(c.R) > 0 for c in found)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_matches_give_no_hypothesis(n):
    assert hypothesise(Pairing(np.zeros((n, 3)), np.zeros((n, 3))), settings()) == []


def test_matches_in_one_place_give_no_hypothesis():
    assert hypothesise(Pairing(np.zeros((50, 3)), np.zeros((50, 3))), settings()) == []


@pytest.mark.parametrize("unit", [0.001, 1.0, 1000.0])
def test_answer_does_not_depend_on_the_unit(unit):
    rng = np.random.default_rng(8)
    R, t = Rotation.random(random_state=9).as_matrix(), np.array([0.2, -0.4, 0.3])
    pairs = matches(rng, 501, 0.9, R, t)
    scaled = Pairing(unit * pairs.source, unit * pairs.target)
    best = hypothesise(scaled, settings(2.5 * SIGMA * unit))[0]
    assert angle_deg(best.R, R) < 1.0
    assert np.linalg.norm(best.t / unit - t) < 0.02


def test_normals_reject_matches_that_lengths_accept():
    """Two points far apart: lengths agree however the surfaces are turned."""
    source = np.array([[0.0, 0, 0], [1, 0, 0]])
    up, side = np.array([[0.0, 0, 1], [0, 0, 1]]), np.array([[0.0, 0, 1], [0, 1, 0]])
    agree = Pairing(source, source, up, up, signed=True)
    differ = Pairing(source, source, up, side, signed=True)
    opposite = Pairing(source, source, up, np.array([[0.0, 0, 1], [0, 0, -1]]), signed=True)
    options = {"tolerance": 0.1, "shortest": 0.1}
    assert len(compatibility_graph(agree, **options).first) == 1
    assert len(compatibility_graph(differ, **options).first) == 0
    assert len(compatibility_graph(opposite, **options).first) == 0
    unsigned = Pairing(opposite.source, opposite.target, up, -up)
    assert len(compatibility_graph(unsigned, **options).first) == 1


@pytest.mark.parametrize("votes", ["pairs", "points"])
def test_votes_of_fewer_matches_need_oriented_normals(votes):
    rng = np.random.default_rng(20)
    pairs = matches(rng, 60, 0.2, np.eye(3), np.zeros(3))
    with pytest.raises(ValueError, match="need oriented normals"):
        hypothesise(pairs, VoteSettings(2.5 * SIGMA, votes=votes, shortest=10.0))


def test_one_oriented_match_votes_for_the_true_motion():
    rng = np.random.default_rng(21)
    R, t = Rotation.random(random_state=22).as_matrix(), np.array([0.3, 0.1, -0.2])
    exact = matches(rng, 80, 0.0, R, t, sigma=0.0)
    normals = rng.normal(size=(80, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    pairs = Pairing(exact.source, exact.target, normals, normals @ R.T, signed=True)
    graph = compatibility_graph(pairs, tolerance=0.05, shortest=0.2)
    votes = from_points(pairs, graph, 80, 0.025)
    nearest = min(angle_deg(v, R) for v in votes.R)
    assert nearest < 360 / SPINS / 2
    np.testing.assert_allclose(np.linalg.det(votes.R), 1, atol=1e-9)


def test_graph_and_cliques_agree_with_a_dense_computation():
    rng = np.random.default_rng(10)
    pairs = Pairing(rng.uniform(0, 1, (131, 3)), rng.uniform(0, 1, (131, 3)))
    graph = compatibility_graph(pairs, tolerance=0.1, shortest=0.2)
    a = np.linalg.norm(pairs.source[:, None] - pairs.source[None], axis=-1)
    b = np.linalg.norm(pairs.target[:, None] - pairs.target[None], axis=-1)
    dense = ((np.abs(a - b) <= 0.1) & (a >= 0.2) & (b >= 0.2)).astype(np.int64)
    np.fill_diagonal(dense, 0)
    first, second = np.nonzero(np.triu(dense))
    assert np.array_equal(graph.first, first)
    assert np.array_equal(graph.second, second)
    assert np.array_equal(graph.strength, (dense @ dense)[first, second])
    members = strongest_cliques(graph, 40).members
    assert len(members) > 0
    for i, j, k in members:
        assert dense[i, j]
        assert dense[j, k]
        assert dense[i, k]


def test_kabsch_batch_equals_single_and_honours_weights():
    rng = np.random.default_rng(11)
    R, t = Rotation.random(random_state=12).as_matrix(), np.array([3.0, -2, 1])
    source = rng.normal(size=(7, 9, 3))
    target = source @ R.T + t
    target[:, 0] += 5.0
    weights = np.ones((7, 9))
    weights[:, 0] = 0
    R_all, t_all, _ = kabsch(source, target, weights)
    np.testing.assert_allclose(R_all, np.broadcast_to(R, (7, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(t_all, np.broadcast_to(t, (7, 3)), atol=1e-12)
    R_one, _, _ = kabsch(source[3], target[3], weights[3])
    np.testing.assert_allclose(R_one, R_all[3], atol=1e-14)


def test_robust_fit_ignores_far_matches_exactly():
    rng = np.random.default_rng(13)
    source = rng.uniform(-1, 1, (200, 3))
    target = source.copy()
    target[:60] += 1.0
    start = Rotation.from_rotvec([0.02, 0, 0]).as_matrix()
    fit = robust_fit(source, target, start, np.zeros(3), 0.05)
    np.testing.assert_allclose(fit.R, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(fit.t, 0, atol=1e-9)
    assert (fit.residual[60:] < 1e-9).all()


def test_rotation_vectors_are_exact_near_zero_and_pi():
    angles = [1e-9, 1e-4, 3.1, np.pi - 1e-7]
    R = Rotation.from_rotvec([[0, a, 0] for a in angles]).as_matrix()
    np.testing.assert_allclose(np.linalg.norm(rotation_vectors(R), axis=1), angles, atol=1e-8)


def test_mean_motion_of_equal_motions_is_that_motion():
    R = np.broadcast_to(Rotation.random(random_state=14).as_matrix(), (4, 3, 3))
    mean, t = mean_motion(R, np.ones((4, 3)), np.array([1.0, 2, 3, 4]))
    np.testing.assert_allclose(mean, R[0], atol=1e-12)
    np.testing.assert_allclose(t, 1.0)
