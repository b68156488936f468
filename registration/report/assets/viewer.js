// Two scans as points with depth shading; the source travels between its places.

const POINTS_VERTEX = `#version 300 es
precision highp float;
uniform mat4 model; uniform mat3 R; uniform vec3 eye, tint; uniform vec2 viewport;
uniform float focal, near, far, radius; uniform int mode;
in vec3 xyz; in vec4 rgbd; out vec3 colour;
vec3 heat(float x) {  // the scale of the pictures
  const vec3 s[5] = vec3[5](vec3(40, 60, 190), vec3(48, 180, 220), vec3(120, 220, 130), vec3(250, 210, 70), vec3(235, 70, 50));
  float k = clamp(x, 0., 1.) * 4.; int i = min(int(k), 3);
  return mix(s[i], s[i + 1], k - float(i)) / 255.;
}
void main() {
  vec3 p = R * ((model * vec4(xyz, 1.)).xyz - eye);
  gl_Position = vec4(focal * p.x * viewport.y / viewport.x, -focal * p.y, ((far + near) * p.z - 2. * far * near) / (far - near), p.z);
  gl_PointSize = clamp(radius * focal * viewport.y / max(p.z, near), 1.5, 40.);
  float d = rgbd.a * 255.;
  colour = mode == 1 ? rgbd.rgb : mode == 2 ? (d > 254.5 ? vec3(.36, .38, .42) : heat(d / 254.)) : tint;
}`;
const POINTS_FRAGMENT = `#version 300 es
precision highp float; in vec3 colour; out vec4 pixel;
void main() { vec2 c = gl_PointCoord * 2. - 1.; if (dot(c, c) > 1.) discard; pixel = vec4(colour, 1.); }`;
const SHADE_VERTEX = `#version 300 es
in vec2 corner; void main() { gl_Position = vec4(corner, 0., 1.); }`;
// Eye-dome lighting (Boucheny 2009): pixels behind nearer neighbours are darkened.
const SHADE_FRAGMENT = `#version 300 es
precision highp float; precision highp sampler2D;
uniform sampler2D image, depth; uniform float near, far, step; uniform vec3 stage; out vec4 pixel;
float logDepth(ivec2 at) {
  float d = texelFetch(depth, clamp(at, ivec2(0), textureSize(depth, 0) - 1), 0).r;
  return d >= 1. ? 99. : log(2. * far * near / (far + near - (2. * d - 1.) * (far - near)));
}
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy); float here = logDepth(at), dark = 0.;
  if (here > 90.) { pixel = vec4(stage, 1.); return; }
  for (int ring = 1; ring <= 2; ring++) for (int k = 0; k < 8; k++) {
    float a = float(k) * .7854;
    ivec2 next = at + ivec2(round(vec2(cos(a), sin(a)) * step * float(ring)));
    dark += clamp(here - logDepth(next), 0., .05) / float(ring);
  }
  pixel = vec4(texelFetch(image, at, 0).rgb * exp(-7. * dark), 1.);
}`;

function startViewer(root) {
  const scene = JSON.parse(document.getElementById("scene").textContent);
  const $ = name => root.querySelector(`[data-part="${name}"]`);
  const canvas = $("gl"), stage = $("stage");
  const gl = openWebGl(canvas), ask = oncePerFrame(draw);
  const points = makeProgram(gl, POINTS_VERTEX, POINTS_FRAGMENT), shade = makeProgram(gl, SHADE_VERTEX, SHADE_FRAGMENT);
  const scans = ["target", "source"].map(name => ({ name, count: scene.count[name], shown: true, vao: upload(`bin-${name}`) }));
  const quad = gl.createVertexArray();
  gl.bindVertexArray(quad);
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
  gl.enableVertexAttribArray(shade.at("corner"));
  gl.vertexAttribPointer(shade.at("corner"), 2, gl.FLOAT, false, 0, 0);
  const frame = gl.createFramebuffer(), image = gl.createTexture(), depth = gl.createTexture();
  let held = [0, 0], mode = 0, size = 1, travel = scene.hypotheses.length ? 1 : 0, hypothesis = 0;
  let target = scene.middle.slice(), R = firstView(), distance = .85 * scene.extent;
  const focal = 2.0;

  function upload(id) {
    const vao = gl.createVertexArray();
    gl.bindVertexArray(vao);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, bytesOf(id), gl.STATIC_DRAW);
    for (const [name, count, kind, offset] of [["xyz", 3, gl.FLOAT, 0], ["rgbd", 4, gl.UNSIGNED_BYTE, 12]]) {
      gl.enableVertexAttribArray(points.at(name));
      gl.vertexAttribPointer(points.at(name), count, kind, kind !== gl.FLOAT, 16, offset);
    }
    return vao;
  }
  function firstView() {
    const side = M.cross(scene.front, scene.up);
    const z = M.unit(scene.front.map((f, i) => f - .35 * scene.up[i] + .25 * side[i])), x = M.unit(M.cross(z, scene.up));
    return [...x, ...M.cross(z, x), ...z];
  }

  // from the given place to the hypothesis: the middle of the scan goes straight, the turn evenly
  function model() {
    const a = scene.before, b = scene.hypotheses[hypothesis] || a, k = travel;
    const linear = m => [0, 1, 2].flatMap(i => [m[4 * i], m[4 * i + 1], m[4 * i + 2]]);
    const scale = Math.cbrt(determinant(linear(b))), turn = M.between([1, 0, 0, 0, 1, 0, 0, 0, 1], linear(b).map(v => v / scale), k);
    const s = 1 + k * (scale - 1), t = [3, 7, 11].map(i => a[i] + k * (b[i] - a[i]));
    const r = turn.map(v => v * s);
    return [r[0], r[3], r[6], 0, r[1], r[4], r[7], 0, r[2], r[5], r[8], 0, t[0], t[1], t[2], 1];
  }
  function determinant(m) {
    return M.dot(m.slice(0, 3), M.cross(m.slice(3, 6), m.slice(6, 9)));
  }
  function resize(w, h) {
    if (held[0] === w && held[1] === h) return;
    held = [w, h]; canvas.width = w; canvas.height = h;
    for (const [texture, inner, format, kind] of [[image, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE], [depth, gl.DEPTH_COMPONENT24, gl.DEPTH_COMPONENT, gl.UNSIGNED_INT]]) {
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texImage2D(gl.TEXTURE_2D, 0, inner, w, h, 0, format, kind, null);
      for (const k of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, k, gl.NEAREST);
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, image, 0);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.DEPTH_ATTACHMENT, gl.TEXTURE_2D, depth, 0);
  }
  function draw() {
    const dpr = Math.min(window.devicePixelRatio || 1, 2);
    resize(Math.max(1, Math.round(stage.clientWidth * dpr)), Math.max(1, Math.round(stage.clientHeight * dpr)));
    const [w, h] = held, eye = M.add(target, M.row(R, 2), -distance), near = distance * .02, far = distance + 4 * scene.extent;
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    gl.viewport(0, 0, w, h); gl.enable(gl.DEPTH_TEST);
    gl.clearColor(...scene.stage, 1); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.useProgram(points.program);
    const u = points.u, still = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
    gl.uniformMatrix3fv(u.R, true, R); gl.uniform3fv(u.eye, eye); gl.uniform2f(u.viewport, w, h);
    gl.uniform1f(u.focal, focal); gl.uniform1f(u.near, near); gl.uniform1f(u.far, far);
    gl.uniform1f(u.radius, .62 * scene.spacing * size);
    for (const scan of scans) if (scan.shown) {
      gl.uniformMatrix4fv(u.model, false, scan.name === "source" ? model() : still);
      gl.uniform3fv(u.tint, scene.tint[scan.name]);
      gl.uniform1i(u.mode, mode === 2 && scan.name === "target" ? 0 : mode);
      gl.bindVertexArray(scan.vao); gl.drawArrays(gl.POINTS, 0, scan.count);
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.disable(gl.DEPTH_TEST); gl.useProgram(shade.program);
    gl.activeTexture(gl.TEXTURE0); gl.bindTexture(gl.TEXTURE_2D, image); gl.uniform1i(shade.u.image, 0);
    gl.activeTexture(gl.TEXTURE1); gl.bindTexture(gl.TEXTURE_2D, depth); gl.uniform1i(shade.u.depth, 1);
    gl.activeTexture(gl.TEXTURE0);
    gl.uniform1f(shade.u.near, near); gl.uniform1f(shade.u.far, far); gl.uniform1f(shade.u.step, 1.5 * dpr);
    gl.uniform3fv(shade.u.stage, scene.stage);
    gl.bindVertexArray(quad); gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    root.dataset.state = "ready";
    root.dataset.frames = Number(root.dataset.frames || 0) + 1;
  }

  function orbit(dx, dy) { R = M.mul(R, M.transposed(orbitTurn(R, scene.up, dx, dy))); ask(); }
  function pan(dx, dy) {
    const k = distance * 2 / (focal * stage.clientHeight);
    target = M.add(M.add(target, M.row(R, 0), -dx * k), M.row(R, 1), -dy * k); ask();
  }
  function zoom(factor) { distance = Math.min(Math.max(distance * factor, scene.extent * .01), scene.extent * 20); ask(); }

  listenToHands(canvas, { orbit, pan, zoom });
  root.addEventListener("click", e => {
    const button = e.target.closest("button");
    if (!button) return;
    if (button.dataset.scan) {
      const scan = scans.find(s => s.name === button.dataset.scan);
      scan.shown = !scan.shown; button.setAttribute("aria-pressed", scan.shown); ask();
    }
    if (button.dataset.colour) {
      mode = Number(button.dataset.colour);
      root.querySelectorAll("[data-colour]").forEach(b => b.setAttribute("aria-pressed", b === button)); ask();
    }
    if (button.dataset.part === "full") toggleFullScreen(root);
  });
  $("size").addEventListener("input", e => { size = Number(e.target.value); ask(); });
  if ($("travel")) $("travel").addEventListener("input", e => { travel = Number(e.target.value); ask(); });
  function choose(k) { hypothesis = k; if ($("hypothesis")) $("hypothesis").value = k; ask(); }
  if ($("hypothesis")) $("hypothesis").addEventListener("change", e => choose(Number(e.target.value)));
  new ResizeObserver(ask).observe(stage);
  canvas.addEventListener("webglcontextlost", e => e.preventDefault());
  ask();
  return { orbit, zoom, choose, move: k => { travel = k; ask(); } };
}

document.addEventListener("click", e => {
  const button = e.target.closest("[data-show-hypothesis]");
  if (!button) return;
  const root = document.getElementById("viewer"), open = () => window.viewer3d && window.viewer3d.choose(Number(button.dataset.showHypothesis));
  if (root.dataset.state === "closed") root.querySelector("[data-part=poster]").click();
  root.scrollIntoView();
  const wait = () => window.viewer3d ? open() : setTimeout(wait, 60);
  wait();
});
