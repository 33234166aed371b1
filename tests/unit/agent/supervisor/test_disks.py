# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks in the heartbeat."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from herd.agent.supervisor import disks
from herd.core.host import disk_space

calls = threading.Semaphore(0)
real = disks.ask

def ask(path):
    if "hangs" in str(path):
        calls.release()
        threading.Event().wait()
    if "broken" in str(path):
        calls.release()
        raise OSError(5, "Input/output error")
    try:
        return real(path)
    finally:
        calls.release()

disks.ask = ask
here = sys.argv[2]
paths = [here, here + "/not/there/yet", here + "/hangs", here + "/broken"]
found = disks.Disks(paths, disk_space.DiskLimits(10, 1), Path(here, "run"))
assert found.readings == ()
found.start()
for _call in range(4):
    assert calls.acquire(timeout=30)
deadline = time.monotonic() + 30
while not found.readings and time.monotonic() < deadline:
    time.sleep(0.01)
# Two paths on one file system give one reading; a disk without an answer gives none.
(disk,) = found.readings
assert disk.path == here and 0 <= disk.free_mib <= disk.total_mib and disk.state in ("ok", "low", "full"), disk
disks.PATIENCE_S = -1
said = {disk.path: disk.state for disk in found.readings}
assert said[here + "/hangs"] == said[here + "/broken"] == "silent", said
# A full disk leaves a record with its time.
device, began = Path(here).stat().st_dev, time.time()
assert disks.without_room(Path(here, "run"), device) is None
disks.rpc_cache.NO_ROOM = 1 << 60
found.note(device, 0)
assert began <= disks.without_room(Path(here, "run"), device) <= time.time()
assert disks.without_room(Path(here, "run"), device + 1) is None
print("done")
"""


def test_silent_disk_does_not_block_others(herdctl: Path, tmp_path: Path) -> None:
    lib = herdctl.resolve().parent.parent / "lib"
    done = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT, str(lib), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
