"""A finished run in miniature, for the commands that look at one: no photo was matched for it."""

import json
from pathlib import Path

from recon import workspace
from recon.colmap_io import read_colmap
from tests.recon.report.report_world import make_run


def finished_run(folder: Path) -> Path:
    """A coloured ball on a floor, three photos, 1500 splats; counts as finished."""
    run = make_run(folder, num=3, splats=1500, width=64)
    names = [view.name for view in read_colmap(run / "4_splats" / "sparse").views]
    for name in names:  # as the camera stage calls its pictures
        (run / "2_cameras/images" / name).rename(run / "2_cameras/images" / f"{name}.png")
    record = {"gains": {name: [1.0, 1.0, 1.0] for name in names}, "background": [0.2, 0.3, 0.4]}
    (run / "4_splats" / "exposures.json").write_text(json.dumps(record))
    workspace.mark_finished(run)
    return run
