"use strict";
// Vectors of 3 and matrices of 9, row-major, as plain arrays.

const M = {
  mul: (a, b) => [0, 1, 2].flatMap(i => [0, 1, 2].map(j =>
    a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j])),
  transposed: a => [0, 3, 6, 1, 4, 7, 2, 5, 8].map(i => a[i]),
  apply: (a, v) => [0, 1, 2].map(i => a[3 * i] * v[0] + a[3 * i + 1] * v[1] + a[3 * i + 2] * v[2]),
  add: (a, b, s = 1) => a.map((x, i) => x + s * b[i]),
  dot: (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2],
  cross: (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]],
  unit(v) { const n = Math.hypot(...v) || 1; return v.map(x => x / n); },
  row: (a, i) => a.slice(3 * i, 3 * i + 3),
  rotation(axis, angle) {  // Rodrigues
    const [x, y, z] = M.unit(axis);
    const c = Math.cos(angle), s = Math.sin(angle), k = 1 - c;
    return [c + x * x * k, x * y * k - z * s, x * z * k + y * s,
      x * y * k + z * s, c + y * y * k, y * z * k - x * s,
      x * z * k - y * s, y * z * k + x * s, c + z * z * k];
  },
  between(a, b, k) {  // a at k = 0, b at k = 1
    const q = M.mul(b, M.transposed(a)), axis = [q[7] - q[5], q[2] - q[6], q[3] - q[1]];
    const sine = Math.hypot(...axis);
    return sine < 1e-6 ? (k < 1 ? a : b) : M.mul(M.rotation(axis, k * Math.atan2(sine, q[0] + q[4] + q[8] - 1)), a);
  },
};
