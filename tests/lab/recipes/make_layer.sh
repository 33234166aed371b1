# Make one layer: what installing packages and running a script adds to the folders below.
#   make_layer.sh WORK LOWER REPOSITORY FILES PACKAGE...
# WORK holds setup.sh and the empty folders result, work and root. Runs in a mount namespace of its own.
set -eu
work=$1 lower=$2 repository=$3 files=$4
shift 4
root=$work/root

mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/result,workdir=$work/work" "$root"
mkdir -p "$root/srv/repo"
mount --bind "$repository" "$root/srv/repo"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"

# Nothing may start while a layer is made.
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"

export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
if [ "$#" -gt 0 ]; then
    chroot "$root" apt-get -q update
    chroot "$root" apt-get -q -y install --no-install-recommends "$@"
fi
if [ -n "$files" ]; then
    cp -R --no-preserve=ownership "$files/." "$root/"
fi
cp "$work/setup.sh" "$root/tmp/setup.sh"
chroot "$root" /bin/sh /tmp/setup.sh
rm "$root/tmp/setup.sh"

rm -f "$root/usr/sbin/policy-rc.d"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
: > "$root/etc/machine-id"
