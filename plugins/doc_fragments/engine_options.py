# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that plan or ask an engine of llama.cpp."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the engine's command line."""

    #: Of every module that plans a command line.
    DOCUMENTATION = r"""
options:
  prefix:
    description: Directory of the releases.
    type: path
    required: true
  environment:
    description: Variables of the unit. The flag guard reports settings of the engine and secrets among them.
    type: dict
    default: {}
  accepted_rules:
    description: Ids of the flag guard's rules whose findings are shown as warnings and do not stop the play.
    type: list
    elements: str
    default: []
"""

    #: Of a module that plans an engine with an OpenAI-compatible API.
    SERVER = r"""
options:
  listen_address:
    description: Address of the API.
    type: str
    required: true
  listen_port:
    description: Port of the API.
    type: int
    required: true
  api_key_file:
    description: File of the API keys.
    type: path
    required: true
  tls:
    description: Certificate and key of the API on this host. Without them, the API serves without TLS.
    type: dict
    default: {}
    suboptions:
      certificate:
        description: File of the certificate.
        type: path
      key:
        description: File of the private key.
        type: path
"""

    #: Of a module that plans a process on the GPUs of its host.
    GPUS = r"""
options:
  gpus:
    description: GPUs of this host that the engine uses, as in C(herd_gpus). Without any, the engine runs on the CPU.
    type: list
    elements: dict
    default: []
"""

    #: Of a module that sends requests to such an API.
    CLIENT = r"""
options:
  api_key_file:
    description: File on this host whose first line is the API key. Without it, requests carry no key.
    type: path
  certificate_file:
    description:
      - File on this host with the certificate of the API, the only one that is trusted. Without it, the API has no TLS.
    type: path
"""
