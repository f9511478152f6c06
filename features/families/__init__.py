"""Kernels that fold bars into features, one family of columns per file."""
