"use strict";
// Draws the packed scene with WebGL 2: splats as depth-sorted quads, points, mesh.
// Cameras: R (row-major 3x3) and t of cam_from_world, OpenCV axes; pixels of the canvas, y down.

// Once per splat, into a buffer: where its quad lies (pixels), its half axes, its colour.
const PROJECT = `#version 300 es
precision highp float; precision highp int; precision highp usampler2D;
uniform usampler2D data;
uniform int texels, widthLog2, degree, mode;
uniform mat3 R; uniform vec3 t, centre; uniform vec4 K; uniform vec2 viewport;
uniform float near, blur, size, shScale, depth;
in uint index;
out vec4 place; out vec4 axes; out vec4 colour;
uvec4 texel(int k) {
  int i = int(index) * texels + k;
  return texelFetch(data, ivec2(i & ((1 << widthLog2) - 1), i >> widthLog2), 0);
}
uint rest[12];
float harmonic(int j) {
  return float(int(rest[j >> 2] << uint(24 - 8 * (j & 3))) >> 24) * shScale;
}
vec3 sh(int k) { int j = 3 * (k - 1); return vec3(harmonic(j), harmonic(j + 1), harmonic(j + 2)); }
vec3 shading(vec3 d) {
  for (int k = 0; k < 3; k++) if (2 + k < texels) {
    uvec4 v = texel(2 + k);
    rest[4 * k] = v.x; rest[4 * k + 1] = v.y; rest[4 * k + 2] = v.z; rest[4 * k + 3] = v.w;
  }
  float x = d.x, y = d.y, z = d.z;
  vec3 c = 0.4886025 * (-y * sh(1) + z * sh(2) - x * sh(3));
  if (degree > 1) c += 1.0925484 * (x * y * sh(4) - y * z * sh(5) - x * z * sh(7))
    + 0.3153916 * (2. * z * z - x * x - y * y) * sh(6) + 0.5462742 * (x * x - y * y) * sh(8);
  if (degree > 2) c += -0.5900436 * (y * (3. * x * x - y * y) * sh(9)
      + x * (x * x - 3. * y * y) * sh(15))
    + 2.8906114 * x * y * z * sh(10) + 1.4453057 * z * (x * x - y * y) * sh(14)
    - 0.4570458 * (4. * z * z - x * x - y * y) * (y * sh(11) + x * sh(13))
    + 0.3731763 * z * (2. * z * z - 3. * x * x - 3. * y * y) * sh(12);
  return c;
}
vec3 heat(float v) {
  vec3 a = vec3(.06, .05, .2), b = vec3(.48, .11, .43), c = vec3(.93, .41, .15), e = vec3(.99, .95, .66);
  return v < .33 ? mix(a, b, v / .33) : v < .66 ? mix(b, c, (v - .33) / .33) : mix(c, e, (v - .66) / .34);
}
void main() {
  place = axes = colour = vec4(0.);
  uvec4 a = texel(0), b = texel(1);
  vec3 world = uintBitsToFloat(a.xyz), p = R * world + t;
  vec2 opacityRed = unpackHalf2x16(a.w), greenBlue = unpackHalf2x16(b.x);
  float opacity = opacityRed.x;
  if (p.z < near || opacity < 1. / 255.) return;
  vec3 s = exp(vec3(unpackHalf2x16(b.y), unpackHalf2x16(b.z & 0xffffu).x)) * size;
  vec3 q = vec3(unpackSnorm2x16(b.z).y, unpackSnorm2x16(b.w));
  float w = sqrt(max(0., 1. - dot(q, q)));
  mat3 turn = mat3(
    1. - 2. * (q.y * q.y + q.z * q.z), 2. * (q.x * q.y + w * q.z), 2. * (q.x * q.z - w * q.y),
    2. * (q.x * q.y - w * q.z), 1. - 2. * (q.x * q.x + q.z * q.z), 2. * (q.y * q.z + w * q.x),
    2. * (q.x * q.z + w * q.y), 2. * (q.y * q.z - w * q.x), 1. - 2. * (q.x * q.x + q.y * q.y));
  mat3 A = transpose(R * turn);  // columns: the rows of R * turn
  vec2 margin = .15 * viewport / K.xy;
  vec2 slope = clamp(p.xy / p.z, -K.zw / K.xy - margin, (viewport - K.zw) / K.xy + margin);
  vec3 pu = (A[0] - slope.x * A[2]) * s * (K.x / p.z), pv = (A[1] - slope.y * A[2]) * s * (K.y / p.z);
  float cu = dot(pu, pu) + blur, cv = dot(pv, pv) + blur, cuv = dot(pu, pv);
  float mid = .5 * (cu + cv), spread = length(vec2(.5 * (cu - cv), cuv));
  float large = mid + spread, small = max(mid - spread, .02);
  vec2 axis = abs(cuv) > 1e-6 * large ? normalize(vec2(cuv, large - cu)) : cu >= cv ? vec2(1., 0.) : vec2(0., 1.);
  float reach = sqrt(2. * log(255. * opacity));
  place = vec4(K.xy * p.xy / p.z + K.zw, reach, 0.);
  axes = vec4(axis * sqrt(large), vec2(-axis.y, axis.x) * sqrt(small)) * reach;
  if (mode == 1) colour = vec4(heat(clamp((depth * 1.9 / p.z - .5) / 2.5, 0., 1.)), opacity);
  else {
    vec3 c = vec3(opacityRed.y, greenBlue);
    if (degree > 0) c += shading(normalize(world - centre));
    colour = vec4(clamp(c, 0., 1.), opacity);
  }
}`;
const NOTHING = `#version 300 es
precision highp float; out vec4 pixel; void main() { pixel = vec4(0.); }`;

const SPLAT_VERTEX = `#version 300 es
precision highp float;
uniform vec2 viewport;
in vec2 corner; in vec4 place, axes, tint;
out vec2 at; out vec4 colour;
void main() {
  vec2 uv = place.xy + corner.x * axes.xy + corner.y * axes.zw;
  at = corner * place.z; colour = tint;
  gl_Position = vec4((uv / viewport * 2. - 1.) * vec2(1., -1.), place.z > 0. ? 0. : 2., 1.);
}`;

const SPLAT_FRAGMENT = `#version 300 es
precision highp float;
in vec2 at; in vec4 colour; out vec4 pixel;
void main() {
  float alpha = min(.99, colour.a * exp(-.5 * dot(at, at)));
  if (alpha < 1. / 255.) discard;
  pixel = vec4(colour.rgb * alpha, alpha);
}`;

const SOLID_VERTEX = `#version 300 es
precision highp float;
uniform mat3 R; uniform vec3 t; uniform vec4 K; uniform vec2 viewport;
uniform float near, far, pointSize;
in vec3 xyz; in vec4 rgba; out vec3 seen; out vec3 colour;
void main() {
  vec3 p = R * xyz + t;
  vec2 ndc = ((K.xy * p.xy + K.zw * p.z) / viewport * 2. - p.z) * vec2(1., -1.);
  gl_Position = vec4(ndc, ((far + near) * p.z - 2. * far * near) / (far - near), p.z);
  gl_PointSize = pointSize; seen = p; colour = rgba.rgb;
}`;

const SOLID_FRAGMENT = `#version 300 es
precision highp float;
uniform bool lit, bare; in vec3 seen; in vec3 colour; out vec4 pixel;
void main() {
  float light = 1.;
  if (lit) {
    vec3 n = normalize(cross(dFdx(seen), dFdy(seen)));
    float head = abs(dot(n, normalize(seen)));
    light = bare ? .25 + .75 * head : .75 + .25 * head;
  }
  pixel = vec4((bare ? vec3(.82, .83, .86) : colour) * light, 1.);
}`;

// Far to near by counting sort on 16 bits. Self-contained: its source text becomes the worker.
function sortFarToNear(xyz, row) {
  const n = xyz.length / 3, z = new Float32Array(n);
  let low = Infinity, high = -Infinity;
  for (let i = 0; i < n; i++) {
    const d = row[0] * xyz[3 * i] + row[1] * xyz[3 * i + 1] + row[2] * xyz[3 * i + 2] + row[3];
    z[i] = d;
    if (d > 0) { if (d < low) low = d; if (d > high) high = d; }
  }
  const start = new Uint32Array(65537), key = new Uint16Array(n);
  // finer steps near the camera: keys are even in log z
  const k = high > low ? 65535 / Math.log(high / low) : 0;
  let count = 0;
  for (let i = 0; i < n; i++) if (z[i] > 0) {
    key[i] = 65535 - k * Math.log(z[i] / low); start[key[i] + 1]++; count++;
  }
  for (let i = 0; i < 65536; i++) start[i + 1] += start[i];
  const order = new Uint32Array(count);
  for (let i = 0; i < n; i++) if (z[i] > 0) order[start[key[i]]++] = i;
  return order;
}

function makeSorter(xyz, done) {
  try {
    const source = `${sortFarToNear}; let xyz; onmessage = e => {
      if (e.data.xyz) { xyz = e.data.xyz; return; }
      const order = sortFarToNear(xyz, e.data.row); postMessage(order, [order.buffer]); };`;
    const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    let busy = false, next = null;
    const send = row => { busy = true; worker.postMessage({ row }); };
    worker.onmessage = e => { busy = false; done(e.data); if (next) { const r = next; next = null; send(r); } };
    worker.onerror = () => { makeSorter.broken = true; };
    worker.postMessage({ xyz });
    return row => {
      if (makeSorter.broken) done(sortFarToNear(xyz, row));
      else if (busy) next = row; else send(row);
    };
  } catch (error) {
    return row => done(sortFarToNear(xyz, row));
  }
}

function makeScene(gl, scene, onSorted) {
  const splats = scene.splats, parts = {};
  let drawn = 0, sort = null, positions = null;
  if (splats && splats.count) {
    const bytes = bytesOf("bin-splats"), texels = bytes.length / 16 / splats.count;
    const widthLog2 = 11, rows = Math.ceil(splats.count * texels / 2048);
    const padded = new Uint32Array(rows * 2048 * 4);
    padded.set(new Uint32Array(bytes.buffer));
    const floats = new Float32Array(bytes.buffer);
    positions = new Float32Array(splats.count * 3);
    for (let i = 0; i < splats.count; i++)
      for (let k = 0; k < 3; k++) positions[3 * i + k] = floats[i * texels * 4 + k];
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32UI, 2048, rows, 0, gl.RGBA_INTEGER, gl.UNSIGNED_INT, padded);
    for (const k of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, k, gl.NEAREST);
    const project = makeProgram(gl, PROJECT, NOTHING, ["place", "axes", "colour"]);
    const p = makeProgram(gl, SPLAT_VERTEX, SPLAT_FRAGMENT);
    const attribute = (at, size, stride, offset, divisor) => {
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, gl.FLOAT, false, stride, offset);
      gl.vertexAttribDivisor(at, divisor);
    };
    const vao = gl.createVertexArray(), ordered = gl.createVertexArray(), order = gl.createBuffer();
    const projected = gl.createBuffer(), feedback = gl.createTransformFeedback();
    gl.bindVertexArray(ordered);
    gl.bindBuffer(gl.ARRAY_BUFFER, order);
    gl.enableVertexAttribArray(project.at("index"));
    gl.vertexAttribIPointer(project.at("index"), 1, gl.UNSIGNED_INT, 0, 0);
    gl.bindVertexArray(vao);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    attribute(p.at("corner"), 2, 0, 0, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, projected);
    gl.bufferData(gl.ARRAY_BUFFER, splats.count * 48, gl.DYNAMIC_COPY);
    ["place", "axes", "tint"].forEach((name, k) => attribute(p.at(name), 4, 48, 16 * k, 1));
    gl.bindBuffer(gl.ARRAY_BUFFER, null);
    gl.bindTransformFeedback(gl.TRANSFORM_FEEDBACK, feedback);
    gl.bindBufferBase(gl.TRANSFORM_FEEDBACK_BUFFER, 0, projected);
    gl.bindTransformFeedback(gl.TRANSFORM_FEEDBACK, null);
    parts.splats = { project, p, ordered, vao, feedback, texels, widthLog2 };
    sort = makeSorter(positions, sorted => {
      gl.bindBuffer(gl.ARRAY_BUFFER, order);
      gl.bufferData(gl.ARRAY_BUFFER, sorted, gl.DYNAMIC_DRAW);
      drawn = sorted.length; onSorted();
    });
  }
  const solid = makeProgram(gl, SOLID_VERTEX, SOLID_FRAGMENT);
  function vertices(id) {
    const vao = gl.createVertexArray();
    gl.bindVertexArray(vao);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, bytesOf(id), gl.STATIC_DRAW);
    for (const [name, size, kind, offset] of [["xyz", 3, gl.FLOAT, 0], ["rgba", 4, gl.UNSIGNED_BYTE, 12]]) {
      gl.enableVertexAttribArray(solid.at(name));
      gl.vertexAttribPointer(solid.at(name), size, kind, kind !== gl.FLOAT, 16, offset);
    }
    return vao;
  }
  if (scene.points) parts.points = { vao: vertices("bin-points"), count: scene.points.count };
  if (scene.mesh) {
    parts.mesh = { vao: vertices("bin-mesh"), count: scene.mesh.triangles * 3 };
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, bytesOf("bin-faces"), gl.STATIC_DRAW);
  }
  gl.bindVertexArray(null);

  // view: {R, t, centre, K: [fx, fy, cx, cy], scale: canvas pixels per photo pixel}
  function draw(view, { mode, size }) {
    const W = gl.drawingBufferWidth, H = gl.drawingBufferHeight, depth = scene.frame.depth;
    gl.viewport(0, 0, W, H);
    gl.clearColor(...scene.background, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const common = u => {
      gl.uniformMatrix3fv(u.R, true, view.R); gl.uniform3fv(u.t, view.t);
      gl.uniform4fv(u.K, view.K); gl.uniform2f(u.viewport, W, H); gl.uniform1f(u.near, depth * 0.02);
    };
    if (mode === "splats" || mode === "depth") {
      if (!drawn) return false;
      const { project: { program, u }, p, ordered, vao, feedback, texels, widthLog2 } = parts.splats;
      gl.useProgram(program); common(u);
      gl.uniform1i(u.texels, texels); gl.uniform1i(u.widthLog2, widthLog2);
      gl.uniform1i(u.degree, splats.degree); gl.uniform1i(u.mode, mode === "depth" ? 1 : 0);
      gl.uniform3fv(u.centre, view.centre); gl.uniform1f(u.depth, depth);
      gl.uniform1f(u.size, size); gl.uniform1f(u.shScale, splats.shScale / 127);
      gl.uniform1f(u.blur, 0.3 * Math.max(view.scale * view.scale, 0.25));
      gl.bindVertexArray(ordered); gl.enable(gl.RASTERIZER_DISCARD);
      gl.bindTransformFeedback(gl.TRANSFORM_FEEDBACK, feedback);
      gl.beginTransformFeedback(gl.POINTS); gl.drawArrays(gl.POINTS, 0, drawn); gl.endTransformFeedback();
      gl.bindTransformFeedback(gl.TRANSFORM_FEEDBACK, null); gl.disable(gl.RASTERIZER_DISCARD);
      gl.useProgram(p.program); gl.uniform2f(p.u.viewport, W, H);
      gl.disable(gl.DEPTH_TEST); gl.enable(gl.BLEND); gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      gl.bindVertexArray(vao);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, drawn);
    } else {
      const part = mode === "points" ? parts.points : parts.mesh, mesh = mode !== "points";
      gl.useProgram(solid.program); common(solid.u);
      gl.uniform1f(solid.u.far, depth * 100);
      gl.uniform1f(solid.u.pointSize, 3 * Math.max(1, H / 600));
      gl.uniform1i(solid.u.lit, mesh ? 1 : 0); gl.uniform1i(solid.u.bare, mode === "clay" ? 1 : 0);
      gl.enable(gl.DEPTH_TEST); gl.disable(gl.BLEND);
      gl.bindVertexArray(part.vao);
      if (mesh) gl.drawElements(gl.TRIANGLES, part.count, gl.UNSIGNED_INT, 0);
      else gl.drawArrays(gl.POINTS, 0, part.count);
    }
    return true;
  }
  return { draw, sort, positions };
}
