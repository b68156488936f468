"""The report opened from disk in a real browser that reaches no network."""

import base64
import io
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from recon.colmap_io import read_colmap
from recon.export.splat_ply import read_splats
from recon.image_metrics import psnr
from recon.render.cpu.renderer import CpuRenderer
from recon.report import page as report_page
from recon.report.page import write_report

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

# Reports through attributes of <html>: what --dump-dom prints.
PROBE = """<script>
const tell = (k, v) => { document.documentElement.dataset[k] = v; };
window.addEventListener("unhandledrejection", e => tell("error", String(e.reason)));
window.addEventListener("securitypolicyviolation", e => tell("blocked", e.blockedURI));
function share() {
  const gl = document.querySelector("[data-part=gl]"), c = document.createElement("canvas");
  c.width = 64; c.height = 48;
  const pen = c.getContext("2d"); pen.drawImage(gl, 0, 0, 64, 48);
  const d = pen.getImageData(0, 0, 64, 48).data, seen = new Set();
  let lit = 0;
  for (let i = 0; i < d.length; i += 4) {
    seen.add((d[i] >> 4) * 256 + (d[i + 1] >> 4) * 16 + (d[i + 2] >> 4));
    if (d[i] + d[i + 1] + d[i + 2] > 110) lit++;
  }
  return `${(lit / (64 * 48)).toFixed(3)} ${seen.size}`;
}
const viewer = document.getElementById("viewer"), pause = ms => new Promise(r => setTimeout(r, ms));
// The browser's clock is virtual and jumps from timer to timer; workers and the graphics process
// live in real time, so let some of that pass as well.
async function wait(ms) {
  for (let k = 0; k < ms / 50; k++) {
    for (let i = 0; i < 2e7; i++) window.burnt = i;
    await pause(50);
  }
}
document.querySelector("[data-part=stage]").style.cssText = "width:96px;height:72px;min-height:0";
(async () => {
  for (let i = 0; i < 600 && viewer.dataset.state !== "ready"; i++) await wait(50);
  tell("state", viewer.dataset.state);
  await wait(300); tell("splats", share());
  tell("picture", document.querySelector("[data-part=gl]").toDataURL("image/png").split(",")[1]);
  for (const mode of ["depth", "mesh", "points"]) {
    document.querySelector(`[data-mode=${mode}]`).click(); await wait(300); tell(mode, share());
  }
  document.querySelector("[data-jump='2']").click(); await wait(1500);
  tell("ghost", document.querySelector("[data-part=ghost]").src.slice(0, 15));
  document.querySelector("[data-figure='2']").click();
  tell("done", "yes");
})();
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_report_opens_from_disk_without_network_and_draws_the_splats(
    new_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(report_page, "_BACKGROUND", (0, 0, 0))
    run = new_run(num=4, splats=1500)
    page = write_report(run)
    told = open_and_probe(page, tmp_path / "profile")
    assert "error" not in told, told
    assert "blocked" not in told, told
    assert told.get("done") == "yes", told
    for mode in ("splats", "depth", "mesh"):
        lit, colours = map(float, told[mode].split())
        assert lit > 0.04, (mode, told)
        assert colours >= 6, (mode, told)
    assert float(told["points"].split()[1]) > 1, told
    assert told["ghost"] == "data:image/jpeg", told
    seen = PilImage.open(io.BytesIO(base64.b64decode(told["picture"]))).convert("RGB")
    view = read_colmap(run / "4_splats" / "sparse").views[0]
    pose = torch.tensor(view.cam_from_world.matrix, dtype=torch.float32)
    drawn = CpuRenderer().render(read_splats(run / "4_splats/splats.ply"), view.camera, pose)
    # half floats, 8-bit harmonics and 8-bit blending: 50 dB measured on a real scene
    assert psnr(np.asarray(seen), drawn.rgb.detach().numpy()) > 42


def open_and_probe(page, profile):
    """What the probe wrote into the page's root element."""
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text("utf-8").replace("</body>", PROBE), encoding="utf-8")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile}", "--use-gl=angle", "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--window-size=900,700", "--virtual-time-budget=60000", "--dump-dom",
        f"{probed.as_uri()}#3d-open",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    root = re.search(r"<html[^>]*>", done.stdout).group(0)
    return dict(re.findall(r'data-(\w+)="([^"]*)"', root))
