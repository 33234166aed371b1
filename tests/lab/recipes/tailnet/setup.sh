set -eu
chmod 755 /usr/bin/tailscale
tailscale status --json | grep -q '"BackendState": "Running"'
tailscale serve status --json | grep -q '^{}$'
