"""Whether a stated scanner's place suits a scan, and what is said where it does not."""

from dataclasses import replace

import numpy as np
import pytest

from registration.api import Aligned
from registration.drawn import drawn_pair
from registration.files import read_cloud
from registration.pipeline import SCANS
from registration.prepare import prepare
from registration.result import Registration
from registration.summary import closing_lines
from registration.viewpoint import contradicted

VOXEL = 0.03
TRUE_PLACE, WRONG_PLACE = np.zeros(3), np.array([-2.0, 0.0, 1.0])  # metres, the scan's frame


@pytest.fixture(scope="module")
def scan():
    """The bundled source; its scanner stood in the origin."""
    cloud = replace(read_cloud(SCANS / "source.ply"), sensor=TRUE_PLACE)
    return cloud, prepare(cloud, VOXEL, (4.0,))


def test_true_place_is_not_contradicted_and_a_place_behind_things_is(scan):
    surface, centre = scan[1].surface, scan[1].centre
    for place, wrong in ((TRUE_PLACE, False), (WRONG_PLACE, True)):
        assert contradicted(surface.xyz, surface.normals, VOXEL, place - centre) == wrong


@pytest.mark.parametrize(("place", "told"), [(TRUE_PLACE, False), (WRONG_PLACE, True)])
def test_advice_names_the_sensor_that_does_not_suit(scan, place, told):
    cloud, ready = scan
    stated, none = replace(cloud, sensor=place), Registration(None, 0.0, accepted=False, reason="")
    done = Aligned(stated, cloud, ready, ready, VOXEL, "", none)
    lines = "\n".join(closing_lines(done, drawn_pair(done), None))
    assert ("try: sensor_source= (empty): seen from the place that was given" in lines) == told
    assert "sensor_target" not in lines
