#!/usr/bin/env python3
"""Compares CKA with its definition in NumPy, and angles between spaces with SciPy's: similarity_agrees.py PROGRAM"""

import json
import subprocess
import sys

import numpy
from scipy.linalg import subspace_angles

TOLERANCE = 1e-10


def cka(x, y):
    """Kornblith et al., equation 3 with linear kernels, over features."""
    x, y = x - x.mean(0), y - y.mean(0)
    norm = numpy.linalg.norm
    return norm(y.T @ x) ** 2 / (norm(x.T @ x) * norm(y.T @ y))


def main():
    cases = json.loads(subprocess.run([sys.argv[1]], check=True, capture_output=True, text=True).stdout)
    for case in cases:
        a, b = numpy.array(case["a"]), numpy.array(case["b"])
        if not abs(case["cka"] - cka(a, b)) < TOLERANCE:
            sys.exit(f"CKA of {a.shape} and {b.shape}: {case['cka']}, expected {cka(a, b)}")
        found, expected = numpy.array(case["angles"]), subspace_angles(a, b)
        if found.shape != expected.shape or not numpy.max(numpy.abs(found - expected)) < TOLERANCE:
            sys.exit(f"angles of {a.shape} and {b.shape}: {found}, expected {expected}")
    print(f"{len(cases)} pairs of matrices agree")


if __name__ == "__main__":
    main()
