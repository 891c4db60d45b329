"""psycopg to PostgreSQL by mutual TLS, with the workload's own SVID: a connection a moment, a line each.

    python psycopg_client.py "host=db.shop hostaddr=10.0.0.7 dbname=app user=app"

`host` is a DNS name of the server's SVID (`dnsNames` of its registration): libpq compares no SPIFFE IDs.
Needs `pip install spiffe psycopg[binary]`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import psycopg
from spiffe_files import SvidFiles

# what PostgreSQL knows of the caller's certificate (CREATE EXTENSION sslinfo)
WHO = """
    SELECT (SELECT substring(value FROM 'URI:([^,]+)') FROM ssl_extension_info() WHERE name = 'subjectAltName'),
           ssl_client_serial()
"""

with tempfile.TemporaryDirectory() as directory:
    files = SvidFiles(Path(directory))
    while True:
        # a pool: psycopg_pool.ConnectionPool(kwargs=…) with max_lifetime below the SVID's, and files.libpq() at each connect
        try:
            with psycopg.connect(sys.argv[1], connect_timeout=10, **files.libpq()) as db:
                print("200 hello", *(db.execute(WHO).fetchone() or ()), flush=True)
        except psycopg.OperationalError as error:
            print("failed", " ".join(str(error).split()), flush=True)
        time.sleep(0.1)
