"use strict";
// Hands on a 3-D view: dragging orbits, shift or two fingers pan, wheel and pinch zoom; arrow keys.

// The turn about the middle of the view for a drag, pixels. R: cam_from_world. It levels with `up`
// and keeps off the poles, but always leads away from them.
function orbitTurn(R, up, dx, dy) {
  const after = turn => M.mul(R, M.transposed(turn)), steepness = r => Math.abs(M.dot(M.row(r, 2), up));
  const level = M.rotation(up, -dx * .006);
  const full = M.mul(M.rotation(M.row(after(level), 0), -dy * .006), level);
  const steep = steepness(after(full));
  return steep > .995 && steep >= steepness(R) ? level : full;
}

// Calls orbit(dx, dy), pan(dx, dy), zoom(factor); where given, hover(event) and tap(event).
function listenToHands(canvas, { orbit, pan, zoom, hover, tap }) {
  const fingers = new Map(), slack = tap ? 4 : 0;  // pixels that are still a tap
  let travelled = 0;
  canvas.addEventListener("pointerdown", e => {
    canvas.setPointerCapture(e.pointerId); fingers.set(e.pointerId, [e.clientX, e.clientY]); travelled = 0;
  });
  canvas.addEventListener("pointermove", e => {
    const last = fingers.get(e.pointerId), now = [e.clientX, e.clientY];
    if (!last) { if (hover) hover(e); return; }
    const dx = now[0] - last[0], dy = now[1] - last[1];
    travelled += Math.abs(dx) + Math.abs(dy);
    if (travelled < slack) return;
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== e.pointerId)[1], reach = p => Math.hypot(p[0] - other[0], p[1] - other[1]);
      zoom(reach(last) / Math.max(1, reach(now))); pan(dx / 2, dy / 2);
    } else if (e.shiftKey || e.buttons & 6) pan(dx, dy); else orbit(dx, dy);
    fingers.set(e.pointerId, now);
  });
  canvas.addEventListener("pointerup", e => {
    if (fingers.delete(e.pointerId) && tap && travelled < slack) tap(e);
  });
  canvas.addEventListener("pointercancel", e => fingers.delete(e.pointerId));
  canvas.addEventListener("contextmenu", e => e.preventDefault());
  canvas.addEventListener("wheel", e => {
    if (document.activeElement !== canvas && !e.ctrlKey) return;  // until touched, the page scrolls
    e.preventDefault(); zoom(Math.exp(e.deltaY * (e.deltaMode ? .04 : .0012)));
  }, { passive: false });
  canvas.addEventListener("keydown", e => {
    const keys = { ArrowLeft: [-20, 0], ArrowRight: [20, 0], ArrowUp: [0, -20], ArrowDown: [0, 20] };
    if (keys[e.key]) (e.shiftKey ? pan : orbit)(...keys[e.key]);
    else if (e.key === "+" || e.key === "=") zoom(.9);
    else if (e.key === "-") zoom(1.1);
    else return;
    e.preventDefault();
  });
}

function toggleFullScreen(root) { document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen(); }
