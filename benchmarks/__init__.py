"""Benchmarks: seconds and quality, side by side with NumPyro and with the floor."""
