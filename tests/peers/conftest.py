"""Peers: what SPIFFE's Go library and OpenSSL make of us. They are built and fetched, so `make test` leaves them out.

`make test-peers` runs them; without Go its last lines name what was not tried.
"""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("PYLIS_PEERS") else ["test_*.py"]
