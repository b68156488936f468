"use strict";
// The 3-D view's hands: orbit, pan, zoom, jump to a photo's camera and wipe the photo over it.

function startViewer(root) {
  const scene = JSON.parse(document.getElementById("scene").textContent);
  const $ = name => root.querySelector(`[data-part="${name}"]`);
  const canvas = $("gl"), overlay = $("overlay"), ghost = $("ghost"), wipe = $("wipe"), stage = $("stage");
  const gl = openWebGl(canvas), ask = oncePerFrame(frame);
  const pen = overlay.getContext("2d");
  const cameras = scene.cameras.map(c => ({
    ...c, centre: M.apply(M.transposed(c.R), c.t.map(v => -v)),
  }));
  let mode = scene.splats ? "splats" : scene.mesh ? "mesh" : "points", size = 1, frusta = true;
  let cam = clone(cameras[0]), target = scene.frame.target.slice(), locked = 0, hover = -1;
  let moving = 0, slow = 2, quick = 0, lastSort = null, animation = 0;

  const world = makeScene(gl, scene, () => { root.dataset.sorted = "1"; ask(); });

  function clone(c) { return { R: c.R.slice(), centre: c.centre.slice(), K: c.K.slice(), size: c.size.slice() }; }

  function layout() {  // the photo's rectangle, fitted into the stage, CSS pixels
    const w = stage.clientWidth, h = stage.clientHeight, s = Math.min(w / cam.size[0], h / cam.size[1]);
    return { w, h, s, left: (w - s * cam.size[0]) / 2, top: (h - s * cam.size[1]) / 2 };
  }
  function viewAt(density) {
    const { s, left, top } = layout(), k = s * density;
    return {
      R: cam.R, t: M.apply(cam.R, cam.centre).map(v => -v), centre: cam.centre, scale: k,
      K: [cam.K[0] * k, cam.K[1] * k, cam.K[2] * k + left * density, cam.K[3] * k + top * density],
    };
  }
  function frame() {
    const began = performance.now(), dpr = Math.min(window.devicePixelRatio || 1, 2);
    const density = moving ? Math.min(dpr, slow) : dpr, { w, h } = layout();
    resize(canvas, Math.round(w * density), Math.round(h * density));
    resize(overlay, Math.round(w * dpr), Math.round(h * dpr));
    const view = viewAt(density);
    if (world.sort && (mode === "splats" || mode === "depth")) {
      const row = [...M.row(cam.R, 2), view.t[2]];
      if (!lastSort || row.some((v, i) => Math.abs(v - lastSort[i]) > 1e-4 * (i === 3 ? scene.frame.depth : 1))) {
        lastSort = row; world.sort(row);
      }
    }
    if (world.draw(view, { mode, size })) root.dataset.state = "ready";
    drawOverlay(viewAt(dpr), dpr);
    placeGhost();
    if (moving && quick < 5) {  // fewer pixels while something moves, until the machine proves quick
      gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
      const took = performance.now() - began;
      quick = took < 25 ? quick + 1 : 0;
      if (took > 50) slow = Math.max(0.3, slow * Math.max(0.5, Math.sqrt(50 / took)));
    }
  }
  function resize(c, w, h) { if (c.width !== w || c.height !== h) { c.width = w; c.height = h; } }
  function settle() { clearTimeout(settle.timer); settle.timer = setTimeout(() => { moving = 0; ask(); }, 180); }

  // camera frusta, on the 2-D canvas above
  function corners(c) {
    const f = scene.frame.frustum;
    const [fx, fy, cx, cy] = c.K, [w, h] = c.size, k = f / Math.max(1, w / fx);
    return [[0, 0], [w, 0], [w, h], [0, h]].map(([u, v]) =>
      M.add(c.centre, M.apply(M.transposed(c.R), [(u - cx) / fx * k, (v - cy) / fy * k, k])));
  }
  function projected(view, p) {
    const [x, y, z] = M.add(M.apply(view.R, p), view.t);
    return z > scene.frame.depth * 0.03 ? [view.K[0] * x / z + view.K[2], view.K[1] * y / z + view.K[3]] : null;
  }
  function drawOverlay(view, dpr) {
    pen.clearRect(0, 0, overlay.width, overlay.height);
    for (const c of cameras) c.outline = null;
    if (!frusta) return;
    cameras.forEach((c, i) => {
      if (i === locked || M.dot(M.add(c.centre, cam.centre, -1), M.add(c.centre, cam.centre, -1)) < 1e-12) return;
      const quad = corners(c).map(p => projected(view, p)), tip = projected(view, c.centre);
      if (!tip || quad.some(q => !q)) return;
      c.outline = [...quad, tip].map(q => q.map(v => v / dpr));
      pen.lineJoin = "round"; pen.lineWidth = (i === hover ? 2.5 : 1.5) * dpr;
      pen.strokeStyle = i === hover ? "#ffd166" : "#7cc4ff";
      pen.fillStyle = i === hover ? "rgba(255,209,102,.30)" : "rgba(124,196,255,.12)";
      path(quad); pen.fill(); pen.stroke();
      for (const q of quad) { pen.beginPath(); pen.moveTo(...tip); pen.lineTo(...q); pen.stroke(); }
    });
    if (hover >= 0 && cameras[hover].outline) label(cameras[hover].name, cameras[hover].outline[4], dpr);
  }
  function path(quad) { pen.beginPath(); quad.forEach((q, k) => k ? pen.lineTo(...q) : pen.moveTo(...q)); pen.closePath(); }
  function label(text, [x, y], dpr) {
    pen.font = `${12 * dpr}px system-ui, sans-serif`;
    const w = pen.measureText(text).width;
    pen.fillStyle = "rgba(10,12,16,.85)"; pen.fillRect(x * dpr + 8 * dpr, y * dpr - 20 * dpr, w + 12 * dpr, 20 * dpr);
    pen.fillStyle = "#fff"; pen.fillText(text, x * dpr + 14 * dpr, y * dpr - 6 * dpr);
  }
  function cameraUnder(x, y) {
    let best = -1, bestArea = Infinity;
    cameras.forEach((c, i) => {
      if (!c.outline) return;
      const xs = c.outline.map(q => q[0]), ys = c.outline.map(q => q[1]);
      const box = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
      const area = (box[1] - box[0]) * (box[3] - box[2]);
      if (x > box[0] - 3 && x < box[1] + 3 && y > box[2] - 3 && y < box[3] + 3 && area < bestArea) { best = i; bestArea = area; }
    });
    return best;
  }

  // the photo above the picture of its own camera
  function placeGhost() {
    const shown = locked >= 0 && !animation;
    ghost.hidden = $("wipebox").hidden = !shown;
    const { s, left, top } = layout(), share = 100 - Number(wipe.value), line = $("edgeline");
    line.hidden = !shown || share === 0 || share === 100;
    if (!shown) return;
    Object.assign(line.style, { left: `${left + s * cam.size[0] * (1 - share / 100)}px`, top: `${top}px`, height: `${s * cam.size[1]}px` });
    Object.assign(ghost.style, { left: `${left}px`, top: `${top}px`, width: `${s * cam.size[0]}px`,
      height: `${s * cam.size[1]}px`, clipPath: `inset(0 ${share}% 0 0)` });
  }
  function lock(i) {
    locked = i;
    const c = i >= 0 ? cameras[i] : null, source = c && document.getElementById(c.photo);
    if (source) ghost.src = source.src; else ghost.removeAttribute("src");
    $("photoname").textContent = c ? c.name : "";
    root.querySelectorAll("[data-jump]").forEach(b => b.setAttribute("aria-pressed", Number(b.dataset.jump) === i));
  }
  function jump(i, wiped = 50) {
    const from = clone(cam), to = cameras[i], still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const start = performance.now(), length = still ? 1 : 700;
    lock(i); wipe.value = wiped; cancelAnimationFrame(animation);
    const ahead = M.dot(M.add(scene.frame.target, to.centre, -1), M.row(to.R, 2));
    target = M.add(to.centre, M.row(to.R, 2), Math.max(ahead, 0.3 * scene.frame.depth));
    const step = now => {
      const x = Math.min(1, Math.max(0, (now - start) / length)), k = x * x * (3 - 2 * x);
      const blend = (a, b) => a.map((v, j) => v + k * (b[j] - v));
      cam = { R: M.between(from.R, to.R, k), centre: blend(from.centre, to.centre), K: blend(from.K, to.K), size: blend(from.size, to.size) };
      if (x === 1) { cam = clone(to); animation = 0; settle(); } else { moving = 1; animation = requestAnimationFrame(step); }
      ask();
    };
    animation = requestAnimationFrame(step);
  }

  // hands on the camera; every one of them leaves the photo's view
  function free() {
    if (animation) { cancelAnimationFrame(animation); animation = 0; }
    if (locked >= 0) lock(-1);
    moving = 1; settle(); ask();
  }
  function orbit(dx, dy) {
    free();
    const turn = orbitTurn(cam.R, scene.frame.up, dx, dy);
    cam.centre = M.add(target, M.apply(turn, M.add(cam.centre, target, -1)));
    cam.R = M.mul(cam.R, M.transposed(turn));
  }
  function reach() { return Math.max(1e-9, M.dot(M.add(target, cam.centre, -1), M.row(cam.R, 2))); }
  function pan(dx, dy) {
    free();
    const k = reach() / (cam.K[0] * layout().s);
    const move = M.add(M.row(cam.R, 0).map(v => -v * dx * k), M.row(cam.R, 1), -dy * k);
    cam.centre = M.add(cam.centre, move); target = M.add(target, move);
  }
  function zoom(factor) { free(); cam.centre = M.add(target, M.add(cam.centre, target, -1), factor); }

  listenToHands(overlay, {
    orbit, pan, zoom,
    hover(e) {
      const under = cameraUnder(e.offsetX, e.offsetY);
      if (under !== hover) { hover = under; overlay.style.cursor = under >= 0 ? "pointer" : "grab"; ask(); }
    },
    tap(e) {
      const under = cameraUnder(e.offsetX, e.offsetY);
      if (under >= 0) { hover = -1; jump(under); }
    },
  });
  overlay.addEventListener("dblclick", e => {  // the nearest solid thing under the pointer: orbit it
    if (!world.positions || cameraUnder(e.offsetX, e.offsetY) >= 0) return;
    const view = viewAt(1), xyz = world.positions;
    let best = Infinity, at = null;
    for (let i = 0; i < xyz.length; i += 3) {
      const p = [xyz[i], xyz[i + 1], xyz[i + 2]], uv = projected(view, p);
      if (!uv || Math.hypot(uv[0] - e.offsetX, uv[1] - e.offsetY) > 7) continue;
      const z = M.dot(view.R.slice(6), p) + view.t[2];
      if (z < best) { best = z; at = p; }
    }
    if (at) { target = at; ask(); }
  });

  root.addEventListener("click", e => {
    const button = e.target.closest("button");
    if (!button) return;
    if (button.dataset.jump) jump(Number(button.dataset.jump));
    if (button.dataset.mode) {
      mode = button.dataset.mode; lastSort = null;
      root.querySelectorAll("[data-mode]").forEach(b => b.setAttribute("aria-pressed", b === button));
      $("sizebox").hidden = mode !== "splats" && mode !== "depth";
      ask();
    }
    if (button.dataset.part === "frusta") { frusta = !frusta; button.setAttribute("aria-pressed", frusta); ask(); }
    if (button.dataset.part === "full") toggleFullScreen(root);
  });
  wipe.addEventListener("input", placeGhost);
  $("size").addEventListener("input", e => { size = Number(e.target.value); ask(); });
  canvas.addEventListener("webglcontextlost", e => { e.preventDefault(); root.dataset.state = "lost"; });
  new ResizeObserver(ask).observe(stage);
  lock(0); wipe.value = 0; ask();
  return { jump, orbit, zoom };
}
