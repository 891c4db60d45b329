"""Processes that hold the sidecars' connections for the server (docs/adr/0040-sidecars-may-connect-to-workers.md)."""
