"""An SVID as files that are always fresh, for programs that read certificates from files only.

As a library: `SvidFiles(directory)`. As a program beside another (PostgreSQL, nginx, …), which it tells to read again:

    python spiffe_files.py [--group NAME] DIR [COMMAND …]      COMMAND runs after each change

DIR/current holds svid.pem (chain, leaf first), key.pem and bundle.pem of one moment: it is a link, moved in one step.
Needs `pip install spiffe`; the agent's socket is in SPIFFE_ENDPOINT_SOCKET. Of one trust domain.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import X509Source


class SvidFiles:
    """`changed` is called after each change, the first time before the constructor returns.

    `group`: may read the key, too (PostgreSQL takes a key of root's that its group may read).
    """

    def __init__(
        self, directory: Path, changed: Callable[[], object] = bool, group: str | None = None
    ) -> None:
        directory.mkdir(mode=0o755 if group else 0o700, exist_ok=True)
        self.current = directory / "current"
        self._changed = changed
        self._group = group
        self._count = 0
        self._writing = threading.Lock()
        self._source = X509Source(timeout_in_seconds=30)
        self._source.subscribe_for_updates(self._write)
        self._write()

    def libpq(self) -> dict[str, str]:
        """What psycopg.connect takes, for one connection: files that do not change while it is made."""
        place = self.current.resolve()
        return {
            "sslmode": "verify-full",
            "ssl_min_protocol_version": "TLSv1.3",
            "sslcert": str(place / "svid.pem"),
            "sslkey": str(place / "key.pem"),
            "sslrootcert": str(place / "bundle.pem"),
        }

    def _write(self) -> None:
        with self._writing:
            svid = self._source.get_x509_context().default_svid
            bundle = self._source.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
            if bundle is None:
                raise RuntimeError(f"no bundle of {svid.spiffe_id.trust_domain}")
            self._count += 1
            new = self.current.with_name(f"{os.getpid()}.{self._count}")
            new.mkdir(mode=0o750 if self._group else 0o700)
            _write(new / "svid.pem", b"".join(one.public_bytes(Encoding.PEM) for one in svid.cert_chain))
            key = svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            _write(new / "key.pem", key)
            _write(
                new / "bundle.pem", b"".join(c.public_bytes(Encoding.PEM) for c in bundle.x509_authorities)
            )
            if self._group:
                for path in (new, *new.iterdir()):
                    shutil.chown(path, group=self._group)
                    path.chmod(0o750 if path is new else 0o640)
            link = self.current.with_name(f"{new.name}.link")
            link.symlink_to(new.name)
            link.replace(self.current)
            # the one before stays: somebody may be reading it
            shutil.rmtree(self.current.with_name(f"{os.getpid()}.{self._count - 2}"), ignore_errors=True)
            self._changed()


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def main() -> None:
    parser = argparse.ArgumentParser(description="Keeps an SVID in files.")
    parser.add_argument("--group")
    parser.add_argument("directory", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()

    def changed() -> None:
        print("written", flush=True)
        if given.command:
            subprocess.run(given.command, check=False)

    SvidFiles(given.directory, changed, given.group)
    threading.Event().wait()


if __name__ == "__main__":
    main()
