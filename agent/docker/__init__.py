"""Containers as workloads: one sidecar each, driven through the engine."""
