#!/usr/bin/env python3
"""Fits the polynomials of kernels/common/math.hpp and prints their coefficients as C hexadecimal floats.

Each is a minimax fit by Lawson's iteration (least squares whose weights grow where the error is largest) of the relative
error of the function it serves. Coefficients are rounded to float one at a time, lowest power first, and the rest is
fitted again, so that the rounding of one is made up for by the others. Needs numpy and mpmath.
"""
import re

import mpmath as mp
import numpy as np

mp.mp.prec = 120


def c_float(c):
    return re.sub(r"\.?0*p", "p", c.hex()) + "f"


def sample(f, xs):
    return np.array([float(f(mp.mpf(float(x)))) for x in xs])


def minimax(powers, target, weight):
    """Least squares on columns `powers`, weights raised until the largest weighted error is flat."""
    w = np.ones(len(target)) / len(target)
    best, best_error = None, np.inf
    for _ in range(400):
        root = np.sqrt(w) * weight
        c = np.linalg.lstsq(powers * root[:, None], target * root, rcond=None)[0]
        error = np.abs((powers @ c - target) * weight)
        if error.max() < best_error:
            best, best_error = c, error.max()
        w = w * error
        w = w / w.sum() + 1e-12
    return best, best_error


def fit(name, f, lo, hi, degree, weight):
    xs = (lo + hi) / 2 + (hi - lo) / 2 * np.cos(np.linspace(0, np.pi, 801))
    target, scale = sample(f, xs), sample(weight, xs)
    powers = np.vander(xs, degree + 1, increasing=True)
    fixed = []
    for k in range(degree + 1):
        rest = target - powers[:, :k] @ np.array(fixed) if fixed else target
        c, error = minimax(powers[:, k:], rest, scale)
        fixed.append(float(np.float32(c[0])))
    error = np.abs((powers @ np.array(fixed) - target) * scale).max()
    print(f"// {name}: largest error 2^{np.log2(error):.1f} of the result, before rounding in float")
    print(", ".join(c_float(c) for c in fixed))


LN2 = mp.log(2)
R = float(LN2 / 2) * 1.0001


def p_of(f):
    """A fit in u = x^2 of f(x)/x - 1."""
    return lambda u: f(mp.sqrt(u)) / mp.sqrt(u) - 1


def w_of(f):
    """Weight that turns the error of p_of(f) into a relative error of f."""
    return lambda u: mp.sqrt(u) / f(mp.sqrt(u))


EPS = 1e-9
# exp(r) = 1 + r P(r); expm1 takes r + r^2 Q(r).
fit("exp: P", lambda r: mp.expm1(r) / r, -R, R, 5, lambda r: r / mp.exp(r))
fit("expm1: Q", lambda r: (mp.expm1(r) - r) / (r * r), -R, R, 5, lambda r: r * r / mp.expm1(r))
# log(1 + f) = f - f^2/2 + f^3 P(f)
fit("log: P", lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, float(mp.sqrt(0.5)) - 1, float(mp.sqrt(2)) - 1, 7,
    lambda f: f**3 / mp.log1p(f))
TANH_LIMIT, ERF_LIMIT = 1.0, 0.921875
fit("tanh: x + x u P(u)", lambda u: p_of(mp.tanh)(u) / u, EPS, TANH_LIMIT**2, 7, lambda u: u * w_of(mp.tanh)(u))
fit("erf: x + x P(u)", p_of(mp.erf), EPS, ERF_LIMIT**2, 6, w_of(mp.erf))
# 1 - erf(x) = exp(-G(x)); an error of G counts by the size of what is subtracted from 1.
fit("erfc: G", lambda x: -mp.log(mp.erfc(x)), ERF_LIMIT, 4.0, 6, lambda x: mp.erfc(x) / mp.erf(x))

# Splits: the high part has few enough bits that its product with an exponent is exact.
for name, value, bits in [("ln2", LN2, 15)]:
    hi = mp.floor(value * 2**bits) / mp.mpf(2)**bits
    print("//", name, "high and low part")
    print(", ".join(c_float(float(np.float32(float(v)))) for v in (hi, value - hi)))
