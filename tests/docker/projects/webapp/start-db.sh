#!/bin/sh
set -e
bin=$(ls -d /usr/lib/postgresql/*/bin)
mkdir -p /data && chown postgres /data
[ -e /data/PG_VERSION ] || setpriv --reuid=postgres --regid=postgres --clear-groups "$bin/initdb" -D /data -A trust >/dev/null
grep -q 0.0.0.0/0 /data/pg_hba.conf || echo 'host all all 0.0.0.0/0 trust' >>/data/pg_hba.conf
exec setpriv --reuid=postgres --regid=postgres --clear-groups "$bin/postgres" -D /data -c listen_addresses='*' -c unix_socket_directories=/tmp
