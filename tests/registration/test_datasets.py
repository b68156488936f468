"""Every benchmark layout is read, partial ones say what is missing, wrong ones say what to do."""

from pathlib import Path

import numpy as np
import pytest

from corr.errors import UserError
from corr.geometry.rigid import Rigid3, rotation_angle
from registration.datasets.benchmark import FragmentPair
from registration.datasets.kitti import pairs_apart, read_kitti
from registration.datasets.logs import read_overlaps, read_poses, read_records, write_poses
from registration.datasets.redwood import read_icl_nuim
from registration.datasets.threedmatch import SCENES, read_3dmatch
from tests.registration.fragment_world import fragment, poses, room, write_cloud, write_scene


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    """Two scenes with 3DMatch truth beside them, one of them with 3DLoMatch truth too."""
    root = tmp_path_factory.mktemp("ours")
    for k, scene in enumerate(SCENES[:2]):
        write_scene(root, scene, root / "benchmarks" / "3DMatch" / scene, count=3, seed=k)
    write_scene(root, SCENES[0], root / "benchmarks" / "3DLoMatch" / SCENES[0], count=3, seed=0)
    return root


@pytest.fixture
def official(tmp_path) -> Path:
    write_scene(tmp_path, SCENES[4], tmp_path / f"{SCENES[4]}-evaluation", count=3)
    return tmp_path


def same(a: Rigid3, b: Rigid3) -> bool:
    error = a.inverse() @ b
    return rotation_angle(error.R) < 1e-6 and np.linalg.norm(error.t) < 1e-6


def test_3dmatch_truth_maps_the_later_fragment_into_the_earlier(ours):
    benchmark = read_3dmatch(ours, "3dmatch")
    truth = poses(3, 0)
    pair = benchmark.scenes[0].pairs[1]
    assert (pair.target, pair.source, pair.row, pair.overlap) == (0, 2, 1, 0.6)
    assert same(pair.target_from_source, truth[0].inverse() @ truth[2])
    assert pair.info is not None
    assert benchmark.scenes[0].fragments[2].name == "cloud_bin_2.ply"


def test_3dmatch_partial_folder_names_the_missing_scenes(ours):
    assert read_3dmatch(ours, "3dmatch").missing == SCENES[2:]
    assert read_3dmatch(ours, "3dlomatch").missing == SCENES[1:]


def test_3dmatch_official_layout_is_read(official):
    benchmark = read_3dmatch(official, "3dmatch")
    assert [s.name for s in benchmark.scenes] == [SCENES[4]]
    assert len(benchmark.pairs) == 3


def test_3dlomatch_does_not_take_the_official_3dmatch_truth(official):
    with pytest.raises(UserError, match=r"no scene of 3DLoMatch is complete.*no gt\.log in"):
        read_3dmatch(official, "3dlomatch")


def test_3dmatch_refuses_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        read_3dmatch(tmp_path / "nowhere", "3dmatch")


def test_3dmatch_refuses_a_folder_without_scenes(tmp_path):
    with pytest.raises(UserError, match="holds no scene of 3DMatch; expected"):
        read_3dmatch(tmp_path, "3dmatch")


def test_3dmatch_refuses_a_scene_with_fragments_missing(official):
    (official / SCENES[4] / "cloud_bin_1.ply").unlink()
    with pytest.raises(UserError, match=r"1 fragments that gt\.log names are missing"):
        read_3dmatch(official, "3dmatch")


def test_3dmatch_refuses_information_of_another_scene(official):
    info = official / f"{SCENES[4]}-evaluation" / "gt.info"
    info.write_text(info.read_text().split("0\t2\t", maxsplit=1)[0])
    with pytest.raises(UserError, match="has no matrix for 0 2"):
        read_3dmatch(official, "3dmatch")


def test_every_counts_over_all_chosen_scenes(ours):
    benchmark = read_3dmatch(ours, "3dmatch")
    assert len(benchmark.chosen(every=4).pairs) == 2
    assert benchmark.chosen(scenes="redkitchen").pairs == list(benchmark.scenes[0].pairs)
    assert len(benchmark.chosen(scenes="redkitchen:home_at").scenes) == 2
    with pytest.raises(ValueError, match="'garden' fits none of"):
        benchmark.chosen(scenes="garden")


def test_consecutive_is_by_index():
    pairs = [FragmentPair("s", j, i, Rigid3.identity()) for i, j in ((0, 1), (1, 0), (0, 2))]
    assert [p.consecutive for p in pairs] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [("0 1 2\n1 0 0", "is cut short"), ("a b c", "is not a list of"), ("0.5 1 2 " + "1 " * 16, "")],
)
def test_log_refuses_other_files(tmp_path, text, message):
    path = tmp_path / "gt.log"
    path.write_text(text)
    with pytest.raises(UserError, match=message or "is not a list of"):
        read_records(path, 4)


def test_log_refuses_a_matrix_that_is_no_motion(tmp_path):
    path = tmp_path / "gt.log"
    path.write_text("0 1 2 " + " ".join(map(str, np.diag([1.0, 2.0, 1.0, 1.0]).ravel())))
    with pytest.raises(UserError, match="no rigid transform"):
        read_poses(path)


def test_log_round_trip(tmp_path):
    wanted = {(0, 1): poses(3)[1], (4, 2): poses(3)[2]}
    write_poses(tmp_path / "x.log", wanted, 5)
    found = read_poses(tmp_path / "x.log")
    assert list(found) == list(wanted)
    assert all(same(found[k], wanted[k]) for k in wanted)


def test_overlap_file_refuses_other_lines(tmp_path):
    path = tmp_path / "gt_overlap.log"
    path.write_text("0,1,0.5\n0;2;0.5\n")
    with pytest.raises(UserError, match=r"gt_overlap\.log:2: not `i,j,share`"):
        read_overlaps(path)
    assert read_overlaps(tmp_path / "absent.log") == {}


# KITTI


def test_kitti_partner_is_the_last_within_ten_metres():
    centres = np.column_stack([np.arange(40) * 3.0, np.zeros(40), np.zeros(40)])
    # 0: 12 m at sweep 4, so 3; next from 4: 7; the rest of the last stretch is too short.
    assert pairs_apart(centres, range(40))[:3] == [(0, 3), (4, 7), (8, 11)]
    assert pairs_apart(centres[:4], range(4)) == []


def test_kitti_pairs_need_their_sweeps():
    centres = np.column_stack([np.arange(40) * 3.0, np.zeros(40), np.zeros(40)])
    assert (4, 7) not in pairs_apart(centres, [k for k in range(40) if k != 7])


@pytest.fixture
def kitti(tmp_path) -> Path:
    """A drive of 12 sweeps 3 m apart past a room; camera axes differ from the scanner's."""
    camera_from_sweep = np.array([[0, -1, 0, 0.1], [0, 0, -1, 0.0], [1, 0, 0, -0.2]])
    full = np.vstack([camera_from_sweep, [0, 0, 0, 1]])
    rows, world = [], room()
    for k in range(12):
        world_from_sweep = np.eye(4)
        world_from_sweep[:3, 3] = [3.0 * k, 0, 0]
        rows.append((full @ world_from_sweep @ np.linalg.inv(full))[:3].ravel())
        file = tmp_path / "sequences" / "09" / "velodyne" / f"{k:06d}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        sweep = np.column_stack([world - [3.0 * k, 0, 0], np.zeros(len(world))])
        sweep.astype(np.float32).tofile(file)
    (tmp_path / "poses").mkdir()
    np.savetxt(tmp_path / "poses" / "09.txt", rows)
    values = " ".join(f"{v:.6e}" for v in camera_from_sweep.ravel())
    (tmp_path / "sequences" / "09" / "calib.txt").write_text(f"P0: 1 2\nTr: {values}\n")
    return tmp_path


def test_kitti_truth_is_in_the_scanners_frame(kitti, tmp_path):
    benchmark = read_kitti(kitti, tmp_path / "cache", refine_truth=False)
    pair = benchmark.pairs[0]
    assert (pair.source, pair.target) == (0, 3)
    assert np.allclose(pair.target_from_source.t, [-9, 0, 0], atol=1e-5)
    assert benchmark.missing == ("08", "10")
    assert benchmark.voxel == 0.3


def test_kitti_truth_is_refined_and_kept(kitti, tmp_path):
    poses_file = kitti / "poses" / "09.txt"
    rows = np.loadtxt(poses_file)
    rows[3, 11] += 0.1  # forward in the camera's frame
    np.savetxt(poses_file, rows)
    rough = read_kitti(kitti, tmp_path / "cache", refine_truth=False).pairs[0]
    fine = read_kitti(kitti, tmp_path / "cache").pairs[0]
    assert abs(rough.target_from_source.t[0] + 9) == pytest.approx(0.1, abs=1e-4)
    assert abs(fine.target_from_source.t[0] + 9) < 0.05
    kept = read_poses(tmp_path / "cache" / "kitti_09.log")
    assert same(kept[3, 0], fine.target_from_source)


@pytest.mark.parametrize(
    ("gone", "message"),
    [("sequences/09/calib.txt", "calib.txt is missing"), ("poses/09.txt", "09.txt is missing")],
)
def test_kitti_refuses_incomplete_sequences(kitti, tmp_path, gone, message):
    (kitti / gone).unlink()
    with pytest.raises(UserError, match="none of the sequences 08, 09, 10 is complete"):
        read_kitti(kitti, tmp_path / "cache")


def test_kitti_refuses_other_folders(tmp_path):
    with pytest.raises(UserError, match="is no KITTI odometry folder; expected"):
        read_kitti(tmp_path, tmp_path / "cache")


def test_kitti_refuses_poses_of_another_sequence(kitti, tmp_path):
    np.savetxt(kitti / "poses" / "09.txt", np.loadtxt(kitti / "poses" / "09.txt")[:5])
    with pytest.raises(UserError, match="has 5 poses but the sweeps go up to 11"):
        read_kitti(kitti, tmp_path / "cache", refine_truth=False)


# ICL-NUIM


def test_icl_nuim_pairs_come_from_a_trajectory(tmp_path):
    truth = poses(3)
    for k, pose in enumerate(truth):
        path = tmp_path / "office1" / "fragments" / f"fragment_{k:03d}.ply"
        write_cloud(path, fragment(room(), pose))
    frames = {(100 * k, 100 * k): pose for k, pose in enumerate(truth)}
    write_poses(tmp_path / "office1-traj.txt", frames, 300)
    benchmark = read_icl_nuim(tmp_path)
    assert benchmark.missing == ("livingroom1", "livingroom2", "office2")
    pair = benchmark.pairs[0]
    assert (pair.target, pair.source) == (0, 1)
    assert pair.overlap > 0.3
    assert same(pair.target_from_source, truth[0].inverse() @ truth[1])


def test_icl_nuim_toolbox_layout_is_read(tmp_path):
    name = "iclnuim-livingroom1"
    write_scene(tmp_path, name, tmp_path / f"{name}-evaluation", count=3)
    benchmark = read_icl_nuim(tmp_path)
    assert [s.name for s in benchmark.scenes] == ["livingroom1"]
    assert len(benchmark.pairs) == 3


def test_icl_nuim_refuses_a_trajectory_that_ends_too_early(tmp_path):
    for k in range(2):
        write_cloud(tmp_path / "office2" / "fragments" / f"fragment_{k:03d}.ply", room()[:50])
    write_poses(tmp_path / "office2-traj.txt", {(0, 0): poses(2)[0]}, 1)
    with pytest.raises(UserError, match="ends before fragment 1 of office2"):
        read_icl_nuim(tmp_path)


def test_icl_nuim_refuses_other_folders(tmp_path):
    with pytest.raises(UserError, match="no ICL-NUIM scene is complete"):
        read_icl_nuim(tmp_path)


@pytest.mark.data
def test_real_scenes_are_read(data_dir):
    root = data_dir / "3dmatch"
    if not root.is_dir():
        pytest.skip("no 3DMatch scenes")
    benchmark = read_3dmatch(root, "3dmatch")
    assert len(benchmark.scenes) + len(benchmark.missing) == 8
    kitchen = benchmark.scenes[0]
    assert (kitchen.name, len(kitchen.fragments), len(kitchen.pairs)) == (SCENES[0], 60, 506)
