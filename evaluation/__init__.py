"""The benchmark: figures with intervals, leakage, confounders, robustness, tables and plots."""
