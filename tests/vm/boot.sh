#!/bin/bash
# The first process of a "machine": this machine's files below a layer of its own, then systemd.
# Runs in mount, pid, net, uts, ipc and cgroup namespaces of its own. Arguments: a directory, and the three to be seen
# below /opt: a Python, its packages, the project.
set -eu
layer=$1 python=$2 packages=$3 project=$4
mount -t tmpfs tmpfs "$layer"
mkdir "$layer/upper" "$layer/work" "$layer/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
mkdir -p "$layer/root/opt/python" "$layer/root/opt/packages" "$layer/root/opt/project"
mount --bind "$python" "$layer/root/opt/python"
mount --bind "$packages" "$layer/root/opt/packages"
mount --bind "$project" "$layer/root/opt/project"
cd "$layer/root"
mount -t tmpfs tmpfs dev
mkdir dev/pts dev/shm
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs sys/fs/cgroup
umount sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
rm -rf etc/systemd/system # what this machine runs is not run there
mkdir etc/systemd/system old
for unit in systemd-sysctl systemd-modules-load systemd-binfmt systemd-remount-fs console-getty systemd-tmpfiles-setup-dev; do
    ln -s /dev/null "etc/systemd/system/$unit.service" # the kernel is not this machine's own
done
for mount in dev-hugepages dev-mqueue sys-kernel-debug sys-kernel-tracing sys-kernel-config sys-fs-fuse-connections; do
    ln -s /dev/null "etc/systemd/system/$mount.mount"
done
ln -s /dev/null etc/systemd/system/proc-sys-fs-binfmt_misc.automount
pivot_root . old
umount -l /old
mount --make-rshared / # as systemd would have it; in a container it leaves that to others
ip link set lo up
exec env -i container=pylis PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=multi-user.target --log-target=null
