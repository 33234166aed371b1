#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate and key of the head's API."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_certificate
short_description: Keep a certificate and a key that only the service reads
version_added: 0.2.0
description:
  - Writes a certificate and its private key that were given, keeps those that are on the host, or lets the host sign
    its own. A private key is never part of a result, of a difference, of a log or of a program's arguments.
  - Sees that both belong together and that the certificate is valid, before a service is started with them.
  - A certificate that the host has signed itself is made anew when it ends within 30 days, or when O(names) has names
    that it lacks, or when the key beside it is not its own. One that somebody put there is left alone.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  diff_mode:
    details: Names the actions and never shows a key.
requirements:
  - the program openssl, 1.1.1 or newer, on the host
options:
  certificate:
    description: Certificate in PEM, followed by those that lead to its authority. Empty keeps or generates one.
    type: str
    default: ''
  key:
    description: Its private key in PEM, without a passphrase, from a vault.
    type: str
    default: ''
  certificate_path:
    description: File of the certificate, which everybody may read.
    type: path
    required: true
  key_path:
    description: File of the key. Its directory is made if it is missing.
    type: path
    required: true
  group:
    description: Group that may read the key; the owner is root.
    type: str
    required: true
  generate:
    description: Whether the host signs its own certificate where none is given and none is there.
    type: bool
    default: false
  names:
    description: Host names and addresses of a generated certificate.
    type: list
    elements: str
    default: []
  days:
    description: How long a generated certificate is valid, in days.
    type: int
    default: 825
"""

EXAMPLES = r"""
- name: Have a certificate of the site's authority
  herd.inference.tls_certificate:
    certificate: "{{ vault_api_certificate }}"
    key: "{{ vault_api_key }}"
    certificate_path: /etc/herd/head.crt
    key_path: /etc/herd/head/tls.key
    group: llama

- name: Let the host sign its own
  herd.inference.tls_certificate:
    certificate_path: /etc/herd/head.crt
    key_path: /etc/herd/head/tls.key
    group: llama
    generate: true
    names: [vllm-node1, 10.0.0.31]
"""

RETURN = r"""
fingerprint:
  description: First digits of a hash over certificate and public key, to notice a change.
  returned: always
  type: str
  sample: 9b74c9897bac770f
source:
  description: What was done, V(given), V(keep) or V(generate).
  returned: always
  type: str
  sample: keep
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    HerdError,
    MismatchError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.host import certificate as rules
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.host import openssl

_KEY_MODE = 0o640
_CERTIFICATE_MODE = 0o644
_ORGANISATION = "herd.inference"


def read(path: Path) -> str:
    """Read a file that may not be there."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def is_good(certificate: str, names: list[str]) -> bool:
    """Whether a generated certificate need not be made anew."""
    said = openssl.subject_of(certificate).replace("IP Address:", "IP:")
    has = {word.strip(" ,") for word in said.split()}
    wanted = rules.subject_names(names).split(",") if names else []
    return openssl.is_valid_for(certificate, rules.RENEW_S) and has >= set(wanted)


def belong_together(certificate: str, key: str) -> bool:
    """Whether both are whole and of one pair: a renewal that was killed leaves a new certificate and an old key."""
    try:
        return openssl.public_key_of_key(key) == openssl.public_key_of_certificate(certificate)
    except MismatchError:
        return False


def source_of(given: dict[str, Any], before: tuple[str, str], can_look: bool) -> str:
    """Decide from what is there. Of a pair that was put there, what does not fit is an error, and not decided here."""
    has_both = all(text.strip() for text in before)
    is_ours = can_look and has_both and _ORGANISATION in openssl.subject_of(rules.first(before[0]))
    good = is_ours and is_good(rules.first(before[0]), given["names"] if given["generate"] else [])
    if good and given["generate"]:
        good = belong_together(rules.first(before[0]), before[1])
    return rules.decide(bool(given["certificate"].strip()), given["generate"], has_both, is_ours, good)


def require_pair(certificate: str, key: str) -> str:
    """See that a service can start with these; gives the public key."""
    public = openssl.public_key_of_certificate(certificate)
    if openssl.public_key_of_key(key) != public:
        raise MismatchError(
            "a key that belongs to the certificate", "another one", "give the pair that was made together"
        )
    if not openssl.is_valid_for(certificate, 0):
        raise MismatchError(
            "a certificate that is valid today", "an expired one", "renew it, and run the playbook again"
        )
    return public


def generated(given: dict[str, Any]) -> tuple[str, str]:
    """Let the host sign its own certificate."""
    folder = Path(tempfile.mkdtemp(prefix="herd-tls."))
    try:
        names = rules.subject_names(given["names"])
        return openssl.self_signed(folder, _ORGANISATION, given["names"][0], names, given["days"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_as(path: Path, mode: int, gid: int) -> bool:
    """Whether owner, group and mode are right."""
    status = path.stat()
    return (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, gid, mode)


def write(path: Path, text: str, mode: int, gid: int) -> None:
    """Put a file in place; the key's directory lets only the service in."""
    if not path.parent.exists() or mode == _KEY_MODE:
        path.parent.mkdir(parents=True, exist_ok=True)
    if mode == _KEY_MODE:
        os.chown(path.parent, 0, gid)
        path.parent.chmod(0o750)
    files.atomic_write(path, text, mode, gid)


def result(given: dict[str, Any], is_check: bool) -> dict[str, Any]:
    """Write the pair if it differs, and return the module's result."""
    certificate_path, key_path = Path(given["certificate_path"]), Path(given["key_path"])
    rules.check_given(given["certificate"], given["key"])
    # In check mode, openssl may not be installed yet.
    can_look = openssl.is_there() or not is_check
    before = (read(certificate_path), read(key_path))
    source = source_of(given, before, can_look)
    if source == rules.GIVEN:
        after = (given["certificate"].strip() + "\n", given["key"].strip() + "\n")
    else:
        after = before if source == rules.KEEP else ("", "") if is_check else generated(given)
    # In check mode, a pair that is not generated yet cannot be checked.
    public = require_pair(rules.first(after[0]), after[1]) if after[0] and can_look else ""
    gid = files.required_group_id(given["group"], is_check)
    pair = ((certificate_path, after[0], _CERTIFICATE_MODE, 0), (key_path, after[1], _KEY_MODE, gid))
    wrong = [
        (path, text, mode, owner)
        for (path, text, mode, owner), old in zip(pair, before)
        if not old or text != old or not is_as(path, mode, owner)
    ]
    if not is_check:
        for path, text, mode, owner in wrong:
            write(path, text, mode, owner)
    does = {rules.GIVEN: "write what was given", rules.GENERATE: "sign a new one", rules.KEEP: "set owner and mode"}
    changes = "".join(f"{path}: {does[source]}\n" for path, *_rest in wrong)
    return {
        "changed": bool(wrong),
        "source": source,
        "fingerprint": rules.fingerprint(after[0], public),
        "diff": {"before": "", "after": changes} if wrong else {},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "certificate": {"type": "str", "default": ""},
            "key": {"type": "str", "default": "", "no_log": True},
            "certificate_path": {"type": "path", "required": True},
            "key_path": {"type": "path", "required": True, "no_log": False},
            "group": {"type": "str", "required": True},
            "generate": {"type": "bool", "default": False},
            "names": {"type": "list", "elements": "str", "default": []},
            "days": {"type": "int", "default": 825},
        },
        supports_check_mode=True,
    )
    try:
        found = result(module.params, module.check_mode)
    except HerdError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"expected to write {error.filename}, found {error.strerror}: fix its directory.")
    module.exit_json(**found)


if __name__ == "__main__":
    main()
