# Runs in the new root file system, as the last step of making it.
set -eu

# Every clone is a machine of its own: systemd makes an id at the first boot.
: > /etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/hostname /etc/hosts

# The only source of packages is the directory that the lab binds here: hosts have no route outside.
# What the system was made from is kept aside, for the fetching of that repository.
mkdir -p /usr/share/herd-lab
cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list > /usr/share/herd-lab/sources.list 2>/dev/null || true
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/99mmdebstrap
echo 'deb [trusted=yes] file:/srv/repo ./' > /etc/apt/sources.list
mkdir -p /srv/repo
cat > /etc/apt/apt.conf.d/90lab <<'CONF'
APT::Install-Recommends "false";
Acquire::Languages "none";
CONF

# A host of the lab lives for minutes; syncing each unpacked file only costs time.
echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/lab

# These would find the machine's own hardware, disks or clock, or wait for a network that is already there.
systemctl mask systemd-networkd-wait-online.service systemd-udevd.service systemd-udev-trigger.service \
    systemd-udev-settle.service systemd-timesyncd.service systemd-logind-varlink.socket \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    getty.target console-getty.service systemd-resolved.service >/dev/null 2>&1

# A reverse lookup would wait for a name server that no host has.
mkdir -p /etc/ssh/sshd_config.d
cat > /etc/ssh/sshd_config.d/lab.conf <<'CONF'
PermitRootLogin prohibit-password
UseDNS no
MaxStartups 100
MaxSessions 100
CONF

rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /tmp/* /var/tmp/*
