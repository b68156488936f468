"""Who contradicts whom."""

import numpy as np

from recon.poses.evidence import Evidence
from tests.recon.poses.test_pose_graph import linked
from tests.synthetic import ring_scene


def test_a_wrong_photo_does_not_take_good_ones_with_it():
    """Photo 3 has more false matches with its neighbours than these have true ones."""
    from recon.poses.pose_graph import map_pose_graph

    world = ring_scene(4, 200)
    groups, pairs, tracks = linked(world)
    bundle = map_pose_graph(groups, tracks, [(p.a, p.b) for p in pairs], 0)
    rng = np.random.default_rng(0)
    sound = Evidence.of(world.matches, pairs, [1.0] * 4, 2.0)
    assert sound.contradicting(bundle) == []
    false = {
        (k, 3): tuple(rng.uniform(0, 1, (2000, 2)) * [611, 467] for _ in range(2)) for k in (1, 2)
    }
    kept = {pair: uv for pair, uv in sound.pairs.items() if 3 not in pair}
    assert Evidence({**kept, **false}, 4.0).contradicting(bundle) == [3]
