# Turn a Debian file system into one that looks like EL8 to Ansible and to the roles: a double.
# It has EL8's names, paths and package manager. It does not have EL8's Python 3.6, SELinux, systemd 239,
# glibc 2.28, or the real packages' dependencies.
set -eu
here=/usr/lib/herd-lab

sh "$here/make_rpms.sh"

# What is now an RPM is no longer installed; libraries that it needs stay.
packages=$(sed 's/#.*//' "$here/rpms" | awk -F'|' 'NF > 4 { print $5 }')
dpkg --purge --force-all $packages python3-apt 2>/dev/null

# EL8's own Python is for its tools only; one to work with must be installed.
mkdir -p /usr/libexec
mv /usr/bin/python3.11 /usr/libexec/platform-python
rm -f /usr/bin/python3
grep -rlI '^#! */usr/bin/python3' /usr/bin /usr/sbin /usr/share/dnf 2>/dev/null | while read -r script; do
    sed -i '1s|/usr/bin/python3[.0-9]*|/usr/libexec/platform-python|' "$script"
done

cat > /usr/lib/os-release <<'OS'
NAME="Rocky Linux"
VERSION="8.10 (Green Obsidian)"
ID="rocky"
ID_LIKE="rhel centos fedora"
VERSION_ID="8.10"
PLATFORM_ID="platform:el8"
PRETTY_NAME="Rocky Linux 8.10 (Green Obsidian)"
ANSI_COLOR="0;32"
CPE_NAME="cpe:/o:rocky:rocky:8:GA"
OS
ln -sfn ../usr/lib/os-release /etc/os-release
echo 'Rocky Linux release 8.10 (Green Obsidian)' > /etc/redhat-release
ln -sfn redhat-release /etc/system-release
rm -f /etc/debian_version /etc/lsb-release

# Out of the way, not gone: whoever looks into this double may still want them.
mkdir -p "$here/debian"
for program in /usr/bin/apt* /usr/bin/dpkg*; do mv "$program" "$here/debian/"; done
mv /var/lib/dpkg "$here/debian/dpkg-database"
rm -rf /etc/apt

mkdir -p /etc/dnf/vars
echo 8 > /etc/dnf/vars/releasever
printf '[main]\ngpgcheck=0\ninstallonly_limit=3\nclean_requirements_on_remove=True\nbest=True\n' > /etc/dnf/dnf.conf
rpm --initdb
dnf -q makecache
