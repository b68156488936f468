"""The report opened from disk in a real browser that reaches no network."""

import base64
import io

import numpy as np
import torch
from PIL import Image as PilImage

from recon.colmap_io import read_colmap
from recon.export.splat_ply import read_splats
from recon.image_metrics import psnr
from recon.render.cpu.renderer import CpuRenderer
from recon.report import page as report_page
from recon.report.page import write_report
from tests.browser import needs_browser, open_and_probe

STEPS = """
  const share = () => {
    const seen = new Set(pixels().map(p => p.map(v => v >> 4).join()));
    const lit = pixels().filter(([r, g, b]) => r + g + b > 110).length;
    return `${(lit / (64 * 48)).toFixed(3)} ${seen.size}`;
  };
  tell("splats", share());
  tell("picture", part("gl").toDataURL("image/png").split(",")[1]);
  for (const mode of ["depth", "mesh", "points"]) {
    document.querySelector(`[data-mode=${mode}]`).click(); await wait(300); tell(mode, share());
  }
  document.querySelector("[data-jump='2']").click(); await wait(1500);
  tell("ghost", part("ghost").src.slice(0, 15));
  const canvas = part("overlay");
  tell("hands", [await press(canvas, "ArrowLeft"), await press(canvas, "+")].join());
  tell("freed", part("ghost").hidden);
  document.querySelector("[data-figure='2']").click();
"""


@needs_browser
def test_report_opens_from_disk_without_network_and_draws_the_splats(
    new_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(report_page, "_BACKGROUND", (0, 0, 0))
    run = new_run(num=4, splats=1500)
    told = open_and_probe(write_report(run), STEPS, (96, 72), tmp_path)
    for mode in ("splats", "depth", "mesh"):
        lit, colours = map(float, told[mode].split())
        assert lit > 0.04, (mode, told)
        assert colours >= 6, (mode, told)
    assert float(told["points"].split()[1]) > 1, told
    assert told["ghost"] == "data:image/jpeg", told
    assert told["hands"] == "true,true"
    assert told["freed"] == "true"  # turned away from the photo, it is not shown
    seen = PilImage.open(io.BytesIO(base64.b64decode(told["picture"]))).convert("RGB")
    view = read_colmap(run / "4_splats" / "sparse").views[0]
    pose = torch.tensor(view.cam_from_world.matrix, dtype=torch.float32)
    drawn = CpuRenderer().render(read_splats(run / "4_splats/splats.ply"), view.camera, pose)
    # half floats, 8-bit harmonics and 8-bit blending: 50 dB measured on a real scene
    assert psnr(np.asarray(seen), drawn.rgb.detach().numpy()) > 42
