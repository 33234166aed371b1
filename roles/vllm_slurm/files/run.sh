#!/usr/bin/env bash
herdctl=$(dirname "$(readlink -f "$0")")/bin/herdctl
[ -x "$herdctl" ] || { echo "run.sh: there is no $herdctl: run playbooks/vllm.yml, which installs both, and start the run.sh of the work space." >&2; exit 2; }
exec "$herdctl" vllm launch "$@"
