"""Simulated sidecars, many in one process: to measure a control plane, ours or another that speaks delta ADS."""
