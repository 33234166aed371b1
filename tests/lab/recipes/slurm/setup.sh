set -eu

# A key of the lab's own, the same on all hosts; munge refuses one that others can read.
printf 'herd.inference: the key of a lab, and of nothing else, that lives for minutes on one machine.' > /etc/munge/munge.key
chown munge:munge /etc/munge/munge.key
chmod 0400 /etc/munge/munge.key

# Root reads what slurmdbd refuses to read from a file that others can read.
chown slurm:slurm /etc/slurm/slurmdbd.conf
chmod 0600 /etc/slurm/slurmdbd.conf
install -d -o slurm -g slurm -m 0755 /var/spool/slurmctld /var/spool/slurmd /var/log/slurm

# Users have the same number on every host, as a site's directory would give them. These are the site's: people who
# compute with VASP, and the user of the inference jobs.
groupadd --gid 2001 vasp
useradd --uid 2001 --gid 2001 --create-home --shell /bin/bash vasp
groupadd --system --gid 990 llama
useradd --system --uid 990 --gid 990 --home-dir /var/lib/herd --no-create-home --shell /usr/sbin/nologin llama

# The same image is the controller and the nodes.
for unit in mariadb slurmdbd slurmctld lab-slurm-accounts; do
    mkdir -p "/etc/systemd/system/$unit.service.d"
    printf '[Unit]\nConditionHost=slurm-ctl\n' > "/etc/systemd/system/$unit.service.d/lab.conf"
done
# The database comes before the accounting, that before the controller; a service that is early tries again.
for unit in slurmdbd slurmctld slurmd; do
    mkdir -p "/etc/systemd/system/$unit.service.d"
    cat > "/etc/systemd/system/$unit.service.d/order.conf" <<'UNIT'
[Unit]
After=munge.service mariadb.service slurmdbd.service
StartLimitIntervalSec=0
[Service]
Restart=on-failure
RestartSec=1
UNIT
done
sed -i 's/ slurmdbd.service$//' /etc/systemd/system/slurmdbd.service.d/order.conf
mkdir -p /etc/systemd/system/slurmd.service.d
printf '[Unit]\nConditionHost=vasp-*\n' > /etc/systemd/system/slurmd.service.d/lab.conf
systemctl enable munge.service mariadb.service slurmdbd.service slurmctld.service slurmd.service \
    lab-slurm-accounts.service
