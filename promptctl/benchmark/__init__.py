"""Benchmark: the paper's few-shot protocol on one's own photos."""
