# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where on this host secrets can be read by somebody who should not; run on a node.

On standard input: secrets by name, so that they are in no command line. On standard output: pairs of name and place.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOTS = (
    *("/etc", "/opt/herd", "/opt/llama.cpp", "/var/log", "/var/lib", "/var/cache", "/var/tmp", "/tmp", "/run"),
    *("/root", "/home"),
)
#: What is read by everybody's eyes but the service's own: these folders hold the secrets.
GUARDED = "/etc/herd"
# A release has files of this size, a journal's are read by journalctl.
LARGEST = 256 << 20


def commands() -> Iterator[tuple[str, bytes]]:
    """What processes were started with, and what has been logged."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield "process", path.read_bytes()
        except OSError:
            continue
    journal = subprocess.run(["journalctl", "--no-pager", "--output=export"], capture_output=True, check=True)
    yield "journal", journal.stdout
    units = subprocess.run(["systemctl", "show", "--no-pager", "*.service"], capture_output=True, check=True)
    yield "systemctl show", units.stdout


def files() -> Iterator[tuple[str, bytes]]:
    """Files, but those of the services that only they read."""
    for root in ROOTS:
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if not Path(folder, name).is_mount()]
            for name in names:
                path = Path(folder, name)
                with suppress(FileNotFoundError):
                    facts = path.lstat()
                    is_guarded = folder.startswith(GUARDED) and not facts.st_mode & stat.S_IROTH
                    if stat.S_ISREG(facts.st_mode) and facts.st_size <= LARGEST and not is_guarded:
                        # What is in the journal's files is the journal's, also if it could not be read as such.
                        yield "journal" if "/log/journal" in folder else str(path), path.read_bytes()


def main() -> None:
    """Search."""
    secrets = {name: secret.encode() for name, secret in json.load(sys.stdin).items()}
    places = set()
    for texts in (commands(), files()):
        for place, text in texts:
            places.update((name, place) for name, secret in secrets.items() if secret in text)
    print(json.dumps(sorted(places)))


if __name__ == "__main__":
    main()
