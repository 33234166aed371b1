#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_certificate
short_description: Install the certificate and the private key of a service
version_added: 0.1.0
description:
  - Writes a given certificate and its private key, keeps an existing pair, or generates a self-signed one. A private
    key never appears in results, diffs, logs or arguments of programs.
  - Checks that the certificate is valid and that the key belongs to it.
  - Renews a self-signed certificate that expires within 30 days, that lacks a name in O(names), or that does not match
    the key. Never renews another certificate.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  diff_mode:
    details: Names the actions and never shows a key.
requirements:
  - Program openssl, 1.1.1 or newer, on the host
options:
  certificate:
    description: Certificate in PEM, followed by its chain. Empty keeps or generates a pair.
    type: str
    default: ''
  key:
    description: Private key of O(certificate) in PEM, without a passphrase.
    type: str
    default: ''
  certificate_path:
    description: File of the certificate, which all users can read.
    type: path
    required: true
  key_path:
    description: File of the key. The module creates its folder.
    type: path
    required: true
  group:
    description: Group that can read the key, which root owns.
    type: str
    required: true
  generate:
    description: Whether to generate a self-signed pair if none is given and none exists.
    type: bool
    default: false
  names:
    description: Host names and addresses of a generated certificate.
    type: list
    elements: str
    default: []
  days:
    description: Days for which a generated certificate is valid.
    type: int
    default: 825
"""

EXAMPLES = r"""
- name: Install a certificate of the site's authority
  herd.inference.tls_certificate:
    certificate: "{{ vault_api_certificate }}"
    key: "{{ vault_api_key }}"
    certificate_path: /etc/herd/head.crt
    key_path: /etc/herd/head/tls.key
    group: llama

- name: Generate a self-signed certificate
  herd.inference.tls_certificate:
    certificate_path: /etc/herd/head.crt
    key_path: /etc/herd/head/tls.key
    group: llama
    generate: true
    names: [vllm-node1, 10.0.0.31]
"""

RETURN = r"""
fingerprint:
  description: Fingerprint of the certificate and its public key.
  returned: always
  type: str
  sample: 9b74c9897bac770f
source:
  description: Origin of the pair, V(given), V(keep) or V(generate).
  returned: always
  type: str
  sample: keep
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    MismatchError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.host import certificate as rules
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.host import openssl

_CERTIFICATE_MODE = 0o644
_ORGANISATION = "herd.inference"


def is_good(certificate: str, names: list[str]) -> bool:
    """Return whether a generated certificate is valid for a while and for all names."""
    said = openssl.subject_of(certificate).replace("IP Address:", "IP:")
    has = {word.strip(" ,") for word in said.split()}
    wanted = rules.subject_names(names).split(",") if names else []
    return openssl.is_valid_for(certificate, rules.RENEW_S) and has >= set(wanted)


def belong_together(certificate: str, key: str) -> bool:
    """Return whether a key belongs to a certificate. A killed renewal leaves a new certificate and an old key."""
    try:
        return openssl.public_key_of_key(key) == openssl.public_key_of_certificate(certificate)
    except MismatchError:
        return False


def source_of(given: dict[str, Any], before: tuple[str, str], can_look: bool) -> str:
    """Decide between the given, the existing and a generated pair. A mismatch in an existing pair is a later error."""
    has_both = all(text.strip() for text in before)
    is_ours = can_look and has_both and _ORGANISATION in openssl.subject_of(rules.first(before[0]))
    good = is_ours and is_good(rules.first(before[0]), given["names"] if given["generate"] else [])
    if good and given["generate"]:
        good = belong_together(rules.first(before[0]), before[1])
    return rules.decide(bool(given["certificate"].strip()), given["generate"], has_both, is_ours, good)


def require_pair(certificate: str, key: str) -> str:
    """Check that a service can start with a pair, and return its public key."""
    public = openssl.public_key_of_certificate(certificate)
    if openssl.public_key_of_key(key) != public:
        raise MismatchError.plain(
            "The private key does not belong to the certificate", "give the key with which the certificate was made"
        )
    if not openssl.is_valid_for(certificate, 0):
        raise MismatchError.plain("The certificate has expired", "renew it, and run the playbook again")
    return public


def generated(given: dict[str, Any]) -> tuple[str, str]:
    """Generate a self-signed pair."""
    folder = Path(tempfile.mkdtemp(prefix="herd-tls."))
    try:
        names = rules.subject_names(given["names"])
        return openssl.self_signed(folder, _ORGANISATION, given["names"][0], names, given["days"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def result(module: HerdModule) -> dict[str, Any]:
    """Write the pair if it differs, and return the module's result."""
    given, is_check = module.params, module.check_mode
    certificate_path, key_path = Path(given["certificate_path"]), Path(given["key_path"])
    rules.check_given(given["certificate"], given["key"])
    # In check mode, openssl may not be installed yet.
    can_look = openssl.is_installed() or not is_check
    before = (files.read_text(certificate_path), files.read_text(key_path))
    source = source_of(given, before, can_look)
    if source == rules.GIVEN:
        after = (given["certificate"].strip() + "\n", given["key"].strip() + "\n")
    else:
        after = before if source == rules.KEEP else ("", "") if is_check else generated(given)
    # In check mode, a pair that is not generated yet cannot be checked.
    public = require_pair(rules.first(after[0]), after[1]) if after[0] and can_look else ""
    gid = files.required_group_id(given["group"], is_check)
    wrong = []
    if not before[0] or after[0] != before[0] or not files.has_owner(certificate_path, _CERTIFICATE_MODE, 0):
        wrong.append(certificate_path)
    if not before[1] or after[1] != before[1] or not files.has_owner(key_path, files.SECRET_MODE, gid):
        wrong.append(key_path)
    if not is_check:
        if certificate_path in wrong:
            files.atomic_write(certificate_path, after[0], _CERTIFICATE_MODE, 0)
        if key_path in wrong:
            files.write_secret(key_path, after[1], gid)
    does = {rules.GIVEN: "write what was given", rules.GENERATE: "sign a new one", rules.KEEP: "set owner and mode"}
    return {
        "changed": bool(wrong),
        "source": source,
        "fingerprint": rules.fingerprint(after[0], public),
        "diff": {"before": "", "after": "".join(f"{path}: {does[source]}\n" for path in wrong)} if wrong else {},
    }


def main() -> None:
    run_module(
        result,
        certificate={"type": "str", "default": ""},
        key={"type": "str", "default": "", "no_log": True},
        certificate_path={"type": "path", "required": True},
        key_path={"type": "path", "required": True, "no_log": False},
        group={"type": "str", "required": True},
        generate={"type": "bool", "default": False},
        names={"type": "list", "elements": "str", "default": []},
        days={"type": "int", "default": 825},
    )


if __name__ == "__main__":
    main()
