"""Benchmarks: measured against a peer in the same run, as ratios of medians, because machines are
noisy.
"""
