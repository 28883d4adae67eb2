#!/usr/bin/env python3
"""Compares Sobol points, bootstrap intervals and fits with SciPy's and NumPy's: study_numbers.py PROGRAM"""

import json
import subprocess
import sys

import numpy
from scipy.stats import linregress, qmc

TOLERANCE = 1e-10


def require_close(found, expected, what):
    difference = numpy.max(numpy.abs(numpy.asarray(found) - numpy.asarray(expected)) / numpy.maximum(1, numpy.abs(expected)))
    if not difference < TOLERANCE:
        sys.exit(f"{what}: {found}, expected {expected}")


def check_sobol(points):
    expected = qmc.Sobol(len(points[0]), scramble=False, bits=32).random(len(points))
    if not numpy.array_equal(points, expected):
        sys.exit("Sobol points differ from SciPy's")


def check_summary(found):
    values = numpy.array(found["values"])
    require_close(found["median"], numpy.median(values), "median")
    require_close(found["quartiles"], numpy.quantile(values, [0.25, 0.75]), "quartiles")
    medians = numpy.median(values[numpy.array(found["resamples"])], axis=1)
    require_close(found["interval"], numpy.quantile(medians, [0.025, 0.975]), "interval")


def check_fit(found):
    batches, steps = numpy.array(found["batches"]), numpy.array(found["steps"])
    line = linregress(1 / batches, steps)
    require_close(found["c1"], line.slope, "c1")
    require_close(found["c2"], line.intercept, "c2")
    require_close(found["r_squared"], line.rvalue**2, "R^2")
    require_close(found["first_slope"], linregress(numpy.log(batches[:3]), numpy.log(steps[:3])).slope, "slope")


def main():
    numbers = json.loads(subprocess.run([sys.argv[1]], check=True, capture_output=True, text=True).stdout)
    check_sobol(numbers["sobol"])
    for found in numbers["summaries"]:
        check_summary(found)
    for found in numbers["fits"]:
        check_fit(found)
    print(f"{len(numbers['sobol'])} points, {len(numbers['summaries'])} summaries and {len(numbers['fits'])} fits agree")


if __name__ == "__main__":
    main()
