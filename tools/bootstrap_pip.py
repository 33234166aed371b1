"""Replace the bootstrap script that ansible-test downloads: install pip from ensurepip.

ansible-test calls it with the arguments of that script (packages, --no-setuptools, --no-wheel).
"""

from __future__ import annotations

import ensurepip
import os
import subprocess
import sys

# ensurepip points PIP_CONFIG_FILE at the null device in this very process, which would hide the
# configuration (index, certificates) from the pip below.
ENVIRONMENT = dict(os.environ)

ensurepip.bootstrap()
wanted = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *wanted], env=ENVIRONMENT))
