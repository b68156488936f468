"""The normal equations of a bundle adjustment with the points eliminated, compiled.

Source: Triggs et al., Bundle Adjustment - A Modern Synthesis, 1999, section 6.1 (Schur complement).
"""

import numba as nb
import numpy as np


@nb.njit(cache=True, error_model="numpy")
def reduced_system(start, index, J, Jp, r, size, damping):
    """Camera block of the normal equations after elimination of every point.

    Args:
        start: p + 1, first row of every point in the tables; rows are sorted by point.
        index: m d, global parameter of every column of J; -1 = not free.
        J: m 2 d, whitened derivatives by the camera's and the lens's parameters.
        Jp: m 2 3, by the point.
        r: m 2, whitened residuals.
        size: number of global parameters.
        damping: relative damping of the points' blocks.

    Returns:
        H (size size), g (size), V_inv (p 3 3), gp (p 3): with the step `d` of the parameters, that
        of a point is `-V_inv (gp + sum over its rows of Jp' J d)`; and the undamped diagonal.
    """
    num, d = len(start) - 1, index.shape[1]
    H, g, diagonal = np.zeros((size, size)), np.zeros(size), np.zeros(size)
    inverses, gradients = np.zeros((num, 3, 3)), np.zeros((num, 3))
    longest = 1
    for p in range(num):
        longest = max(longest, start[p + 1] - start[p])
    W, Y = np.zeros((longest, d, 3)), np.zeros((longest, d, 3))
    for p in range(num):
        V, gp = np.zeros((3, 3)), np.zeros(3)
        for m in range(start[p], start[p + 1]):
            for k in range(2):
                for i in range(3):
                    gp[i] += Jp[m, k, i] * r[m, k]
                    for j in range(3):
                        V[i, j] += Jp[m, k, i] * Jp[m, k, j]
        for i in range(3):
            V[i, i] += damping * V[i, i] + 1e-12
        inverse = np.linalg.inv(V)
        inverses[p], gradients[p] = inverse, gp
        for m in range(start[p], start[p + 1]):
            row = m - start[p]
            for a in range(d):
                ia = index[m, a]
                if ia < 0:
                    continue
                for j in range(3):
                    W[row, a, j] = J[m, 0, a] * Jp[m, 0, j] + J[m, 1, a] * Jp[m, 1, j]
                for j in range(3):
                    Y[row, a, j] = 0.0
                    for k in range(3):
                        Y[row, a, j] += W[row, a, k] * inverse[k, j]
                g[ia] += J[m, 0, a] * r[m, 0] + J[m, 1, a] * r[m, 1]
                for j in range(3):
                    g[ia] -= Y[row, a, j] * gp[j]
                for b in range(d):
                    ib = index[m, b]
                    if ib >= 0:
                        value = J[m, 0, a] * J[m, 0, b] + J[m, 1, a] * J[m, 1, b]
                        H[ia, ib] += value
                        if ia == ib:
                            diagonal[ia] += value
        for m in range(start[p], start[p + 1]):
            for n in range(m, start[p + 1]):
                for a in range(d):
                    ia = index[m, a]
                    if ia < 0:
                        continue
                    y0, y1, y2 = Y[m - start[p], a, 0], Y[m - start[p], a, 1], Y[m - start[p], a, 2]
                    for b in range(d):
                        ib = index[n, b]
                        if ib < 0:
                            continue
                        row = n - start[p]
                        value = y0 * W[row, b, 0] + y1 * W[row, b, 1] + y2 * W[row, b, 2]
                        H[ia, ib] -= value
                        if n > m:  # the same block on the other side of the diagonal
                            H[ib, ia] -= value
    return H, g, inverses, gradients, diagonal


@nb.njit(cache=True, error_model="numpy")
def point_steps(start, index, J, Jp, inverses, gradients, step):
    """Steps of the points (p 3) that belong to a step of the other parameters."""
    num, d = len(start) - 1, index.shape[1]
    moved = np.zeros((num, 3))
    for p in range(num):
        right = gradients[p].copy()
        for m in range(start[p], start[p + 1]):
            for k in range(2):
                seen = 0.0
                for a in range(d):
                    if index[m, a] >= 0:
                        seen += J[m, k, a] * step[index[m, a]]
                for i in range(3):
                    right[i] += Jp[m, k, i] * seen
        for i in range(3):
            moved[p, i] = -(
                inverses[p, i, 0] * right[0] + inverses[p, i, 1] * right[1]
                + inverses[p, i, 2] * right[2]
            )  # fmt: skip
    return moved
