#!/bin/sh
# Runs a command in an image's root as docker-compose.yml runs it: user 10001, read-only root, /tmp in memory, no
# capabilities, no new privileges. ROOT VOLUME COMMAND...; within namespaces of its own; the environment is passed on.
set -eu
root=$1 volume=$2
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount --bind "$volume" "$root/var/lib/timewarden"
mount -t proc proc "$root/proc"
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o nosuid,mode=755 tmpfs "$root/dev"
for device in null zero random urandom; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -o remount,bind,ro "$root"
exec /usr/sbin/chroot "$root" /usr/bin/setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all \
    --inh-caps=-all --pdeathsig TERM sh -c 'cd /app && exec "$@"' sh "$@"
