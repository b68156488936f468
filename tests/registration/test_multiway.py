"""`registration multiway`: poses from pairs, wrong links refused, what is left out has a reason."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from corr.errors import UserError
from corr.geometry.rigid import Rigid3
from registration.baselines import Open3DRansac
from registration.cloud import PointCloud
from registration.datasets.logs import read_poses, write_poses
from registration.evaluation.predictions import Prediction
from registration.evaluation.workers import random_motion
from registration.multiway import multiway, scan_files, thinned, voxel_of
from registration.multiway_candidates import candidate_pairs, similar_pairs
from registration.multiway_edges import Rules, accepted, adjusted
from registration.multiway_solve import ranges, solve
from registration.options_eval import MultiwayOptions
from registration.pose_graph import Closure, Edge, groups, spanning_tree
from registration.pose_graph_beliefs import believed
from registration.pose_graph_optimise import Pruning
from registration.trajectory_error import Truth, read_truth, trajectory_error
from tests.registration.fragment_world import VOXEL, poses, write_cloud, write_scene

RULES = Rules(0.5, 0.3, 0.9, np.radians(5), 0.2)
PRUNING = Pruning(0.075)
CENTRES = {n: np.zeros(3) for n in range(8)}


def true_poses(count: int = 8) -> list[Rigid3]:
    """Scanners on a circle of 2 m, each turned at random."""
    rng = np.random.default_rng(4)
    angle = np.linspace(0, 5, count)
    return [
        Rigid3(
            Rotation.from_quat(rng.normal(size=4)).as_matrix(),
            np.array([2 * np.cos(a), 2 * np.sin(a), 1.0]),
        )
        for a in angle
    ]


def edge(world: list[Rigid3], source: int, target: int, probability=0.95, error=None) -> Edge:
    moved = world[target].inverse() @ world[source]
    moved = moved @ (error or Rigid3.identity())
    return Edge(source, target, moved, probability, overlap=0.6)


def slight(seed: int) -> Rigid3:
    """An error of about half a degree and 1 cm."""
    rng = np.random.default_rng(seed)
    R = Rotation.from_rotvec(rng.normal(0, 0.005, 3)).as_matrix()
    return Rigid3(R, rng.normal(0, 0.006, 3))


@pytest.fixture
def graph() -> tuple[list[Rigid3], list[Edge]]:
    """Neighbours up to three apart, slightly off, and two wrong loops that look probable."""
    world = true_poses()
    edges = [
        edge(world, s, t, error=slight(10 * s + t))
        for t in range(8)
        for s in range(t + 1, min(t + 4, 8))
    ]
    wrong = [edge(world, 7, 0, 0.97, random_motion(3, 1.0)),
             edge(world, 6, 1, 0.97, random_motion(4, 1.0))]  # fmt: skip
    return world, [*edges, *wrong]


def clouds(count: int = 8) -> dict[int, PointCloud]:
    corners = np.array([[1.0, 1, 1], [-1, -1, 1], [1, -1, -1], [-1, 1, -1]])
    return {n: PointCloud(corners) for n in range(count)}


def test_wrong_loops_are_dropped_and_poses_right(graph):
    world, edges = graph
    solution = solve(edges, clouds(), RULES, PRUNING)
    keys = {e.key for e in solution.edges}
    assert not keys & {(7, 0), (6, 1)}
    assert len(keys) == len(edges) - 2
    error = trajectory_error(solution.world_from_scan, Truth((dict(enumerate(world)),)))
    assert error.scans == 8
    assert error.rotation_max_deg < 1.5
    assert error.ate < 0.04


def test_triangles_raise_and_lower_beliefs():
    world = true_poses()
    right = [edge(world, s, t, 0.7) for s, t in ((1, 0), (2, 1), (2, 0), (3, 1), (3, 2))]
    wrong = edge(world, 3, 0, 0.7, random_motion(5, 1.0))
    found = {e.key: e for e in believed([*right, wrong], Closure(0.1, 0.2), CENTRES)}
    assert found[2, 0].belief > 0.95
    assert found[3, 0].belief < 0.2
    assert (found[2, 1].support, found[2, 1].conflicts) == (2, 0)
    assert found[3, 0].conflicts == 2


def test_lonely_link_must_be_sure():
    world = true_poses()
    kept, _ = accepted([edge(world, 2, 0, 0.95), edge(world, 5, 3, 0.8)], CENTRES, RULES)
    assert [e.key for e in kept] == [(2, 0)]


def test_reasons_name_what_was_missing():
    world = true_poses()
    thin = replace(edge(world, 3, 0), overlap=0.1)
    edges = [edge(world, 2, 0, 0.95), thin, edge(world, 6, 4, 0.8)]
    _, reasons = accepted(edges, CENTRES, RULES)
    assert reasons[3] == "its best pair overlaps by 10% (30% needed)"
    assert reasons[6].startswith("its best link has probability 0.80 and no third scan confirms")
    assert reasons[7] == "no pair with it reaches probability 0.5"


def test_separate_groups_are_reported():
    world = true_poses()
    edges = [edge(world, s, t, 0.99) for s, t in ((1, 0), (2, 1), (2, 0), (5, 4), (6, 5))]
    solution = solve(edges, clouds(), RULES, PRUNING)
    assert sorted(solution.world_from_scan) == [0, 1, 2]
    assert solution.left_out[5] == "linked only to 4, 6"
    assert [sorted(g) for g in solution.other_groups] == [[4, 5, 6]]
    assert "no pair" in solution.left_out[7]


def test_groups_and_tree():
    world = true_poses()
    edges = [edge(world, 1, 0, 0.9), edge(world, 2, 1, 0.5), edge(world, 2, 0, 0.99)]
    assert groups(range(4), edges) == [[0, 1, 2], [3]]
    assert len(spanning_tree([0, 1, 2], edges)) == 2


def test_odds_of_distant_pairs_follow_their_share():
    def answer(source, probability):
        nan = float("nan")
        return Prediction(
            "s", source, 0, None, probability, True, "", nan, 0, 0, nan, 0.0, 0.0, 0.0
        )

    rows = [answer(1, 0.9), *(answer(k, 0.6) for k in range(2, 40)), answer(40, 0.9999)]
    found = adjusted(rows)
    assert found[0].probability == 0.9  # a neighbour
    assert found[1].probability < 0.2
    assert found[-1].probability > 0.9


def test_truth_of_pairs_becomes_poses(tmp_path):
    world = true_poses(5)
    pairs = {(i, j): world[i].inverse() @ world[j] for i, j in ((0, 1), (1, 2), (0, 2), (2, 4))}
    write_poses(tmp_path / "gt.log", pairs, 5)
    truth = read_truth(str(tmp_path / "gt.log"))
    assert sorted(truth.world_from_scan[0]) == [0, 1, 2, 4]
    expected = world[4].inverse() @ world[0]
    assert np.allclose(truth.relative(4, 0).matrix, expected.matrix, atol=1e-6)
    assert truth.relative(3, 0) is None


def test_truth_of_a_trajectory_takes_first_frames(tmp_path):
    world = true_poses(6)
    write_poses(tmp_path / "room-traj.txt", {(k, k): p for k, p in enumerate(world)}, 6)
    truth = read_truth(str(tmp_path / "room-traj.txt"), frames_per_fragment=3)
    assert np.allclose(truth.world_from_scan[0][1].matrix, world[3].matrix)


def test_errors_do_not_depend_on_the_frame_and_bear_one_bad_scan():
    world = true_poses()
    frame = random_motion(8, 3.0)
    estimated = {n: frame @ p for n, p in enumerate(world)}
    estimated[3] = estimated[3] @ random_motion(9, 1.0)
    error = trajectory_error(estimated, Truth((dict(enumerate(world)),)))
    assert error.rotation_median_deg < 0.05
    assert error.translation_median < 0.01
    assert error.per_scan[3][1] > 0.3
    assert trajectory_error({0: world[0]}, Truth((dict(enumerate(world)),))) is None


def test_candidates_near_and_similar():
    files = {n: Path(f"{n}.ply") for n in (3, 5, 8, 9)}
    near = {"voxel": 1.0, "orientation": "none"}
    assert candidate_pairs(files, kind="near", reach=1, **near) == [(3, 5), (5, 8), (8, 9)]
    assert len(candidate_pairs(files, kind="all", reach=1, **near)) == 6
    looks = np.array([[1.0, 0], [0, 1], [0.1, 0.9], [0.9, 0.1]])
    assert similar_pairs([3, 5, 8, 9], looks, 1) == [(3, 5), (3, 9), (5, 8), (8, 9)]


def test_ranges():
    assert ranges([7, 0, 1, 2]) == "0-2, 7"


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scans")
    write_scene(root, "room", root / "truth", count=4)
    return root


def test_folder_becomes_one_cloud(scans, tmp_path):
    registrar = Open3DRansac(iterations=20_000, refit=True)
    text = multiway(
        MultiwayOptions(
            str(scans / "room"), registrar, orientation="sensor", voxel=VOXEL, refine=True,
            truth=str(scans / "truth" / "gt.log"), out=str(tmp_path / "out"),
        )
    )  # fmt: skip
    assert "4 of 4 scans placed" in text
    assert "0 wrong links kept" in text
    world, truth = read_poses(tmp_path / "out" / "poses.log"), poses(4, 3)
    moved = world[3, 3].inverse() @ world[0, 0]
    assert np.linalg.norm(moved.t - (truth[3].inverse() @ truth[0]).t) < 0.08
    for name in ("merged.ply", "top_view.png", "metrics.json", "report.md"):
        assert (tmp_path / "out" / name).stat().st_size > 0


def test_scan_numbers_are_the_order(tmp_path):
    for k in (10, 2):
        write_cloud(tmp_path / f"cloud_bin_{k}.ply", np.random.default_rng(k).normal(size=(40, 3)))
    assert list(scan_files(tmp_path)) == [2, 10]
    assert voxel_of(scan_files(tmp_path)) > 0


def test_one_scan_is_refused(tmp_path):
    write_cloud(tmp_path / "a.ply", np.eye(3))
    with pytest.raises(UserError, match="holds 1 scans"):
        scan_files(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        scan_files(tmp_path / "nowhere")


def test_scans_of_nothing_in_common_say_so(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(2):
        write_cloud(tmp_path / f"{k}.ply", rng.normal(size=(300, 3)))
    options = MultiwayOptions(
        str(tmp_path), Open3DRansac(iterations=100), voxel=0.3, out=str(tmp_path / "out")
    )
    with pytest.raises(UserError, match="no two scans could be linked: the best pair is"):
        multiway(options)


def test_repeated_points_do_not_change_the_resolution(tmp_path):
    xyz = np.random.default_rng(3).normal(size=(301, 3))
    write_cloud(tmp_path / "a1.ply", xyz)
    write_cloud(tmp_path / "b1.ply", np.repeat(xyz, 5, axis=0))
    once, often = (voxel_of({0: tmp_path / f"{n}1.ply"}) for n in "ab")
    assert often == pytest.approx(once)
    write_cloud(tmp_path / "c1.ply", np.ones((50, 3)))
    with pytest.raises(UserError, match=r"c1.ply: all points lie in one place"):
        voxel_of({0: tmp_path / "c1.ply"})


def test_rescanned_file_of_the_same_name_needs_another_folder(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(2):
        write_cloud(tmp_path / f"{k}.ply", rng.normal(size=(300, 3)))
    options = MultiwayOptions(
        str(tmp_path), Open3DRansac(iterations=100), voxel=0.3, out=str(tmp_path / "out")
    )
    with pytest.raises(UserError, match="no two scans"):
        multiway(options)
    write_cloud(tmp_path / "1.ply", rng.normal(size=(300, 3)))
    with pytest.raises(UserError, match="of before: the scans have changed since; choose") as error:
        multiway(options)
    assert "\n" not in str(error.value)


def test_thinned_keeps_one_point_per_voxel():
    cloud = PointCloud(np.array([[0.1, 0, 0], [0.2, 0, 0], [1.1, 0, 0]]))
    assert len(thinned(cloud, 1.0)) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sure": 1.5}, "sure must lie between 0 and 1, got 1.5"),
        ({"candidates": "some"}, "candidates must be one of all, near, similar, got some"),
        ({"reach": 0}, "reach must be 1 or more"),
        ({"cycle_deg": -1.0}, "cycle_deg must be 0 or more"),
    ],
)
def test_option_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        MultiwayOptions("scans", **changes)
