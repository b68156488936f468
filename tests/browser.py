"""A report opened from disk in a real browser that reaches no network."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

# Tells through attributes of <html>: what --dump-dom prints.
PROBE = """<script>
const tell = (k, v) => { document.documentElement.dataset[k] = v; };
window.addEventListener("unhandledrejection", e => tell("error", String(e.reason)));
window.addEventListener("securitypolicyviolation", e => tell("blocked", e.blockedURI));
const part = name => document.querySelector(`[data-part=${name}]`);
const viewer = document.getElementById("viewer"), pause = ms => new Promise(r => setTimeout(r, ms));
function pixels() {  // of the 3-D view, shrunk to 64 x 48: [r, g, b] each
  const c = document.createElement("canvas");
  c.width = 64; c.height = 48;
  const pen = c.getContext("2d"); pen.drawImage(part("gl"), 0, 0, 64, 48);
  const d = pen.getImageData(0, 0, 64, 48).data;
  return Array.from({ length: 64 * 48 }, (_, i) => [d[4 * i], d[4 * i + 1], d[4 * i + 2]]);
}
// The browser's clock is virtual and jumps from timer to timer; workers and the graphics process
// live in real time, so let some of that pass as well.
async function wait(ms) {
  for (let k = 0; k < ms / 50; k++) {
    for (let i = 0; i < 2e7; i++) window.burnt = i;
    await pause(50);
  }
}
async function press(element, key) {  // whether the view changed
  const picture = () => part("gl").toDataURL(), before = picture();
  element.dispatchEvent(new KeyboardEvent("keydown", { key }));
  for (let i = 0; i < 20 && picture() === before; i++) await wait(50);
  return picture() !== before;
}
part("stage").style.cssText = "width:WIDTHpx;height:HEIGHTpx;min-height:0";
(async () => {
  for (let i = 0; i < 600 && viewer.dataset.state !== "ready"; i++) await wait(50);
  tell("state", viewer.dataset.state);
  await wait(300);
  STEPS
  tell("done", "yes");
})();
</script></body>"""


def open_and_probe(page: Path, steps: str, stage: tuple[int, int], tmp_path: Path) -> dict:
    """What the steps told, after the 3-D view was ready.

    Args:
        page: The report.
        steps: JavaScript that may use `tell`, `part`, `pixels`, `press`, `wait` and `viewer`.
        stage: Width and height of the 3-D view, pixels.
        tmp_path: For the browser's profile.
    """
    probe = PROBE.replace("WIDTH", str(stage[0])).replace("HEIGHT", str(stage[1]))
    probed = page.with_name("probed.html")
    text = page.read_text("utf-8").replace("</body>", probe.replace("STEPS", steps))
    probed.write_text(text, encoding="utf-8")
    told = opened(f"{probed.as_uri()}#3d-open", tmp_path)
    assert "error" not in told, told
    assert "blocked" not in told, told
    assert told.get("done") == "yes", told
    return told


def opened(address: str, tmp_path: Path) -> dict:
    """The data attributes of a page's root element, after its scripts have run."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--use-gl=angle", "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--window-size=900,700", "--virtual-time-budget=60000", "--dump-dom",
        address,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    root = re.search(r"<html[^>]*>", done.stdout)[0]
    return dict(re.findall(r'data-(\w+)="([^"]*)"', root))
