"""`python -m controlplane.cli`: the same as `pylis`."""

from controlplane.cli import main

main()
