"""Measure speed: each bench is a function that gives its figures, against a floor taken in the same run."""
