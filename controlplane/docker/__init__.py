"""Workloads that are containers: what agents report, and compose projects."""
