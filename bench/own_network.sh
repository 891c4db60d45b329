#!/bin/sh
# Runs a command in a network of its own in which every IPv4 address is this machine's, so that test cases may
# name any. Where the kernel does not let us, the command runs in the network that is there.
inside='ip link set lo up && ip route add local 0.0.0.0/0 dev lo && exec "$@"'
for how in "--net" "--user --map-root-user --net"; do
    # shellcheck disable=SC2086
    if unshare $how sh -c 'ip link set lo up && ip route add local 0.0.0.0/0 dev lo' 2>/dev/null; then
        # shellcheck disable=SC2086
        exec unshare $how sh -c "$inside" sh "$@"
    fi
done
echo "no network of our own here: addresses this machine does not have are left out" >&2
exec "$@"
