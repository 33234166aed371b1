# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error in which a failed download ends."""

from __future__ import annotations

from typing import Any

#: Secrets that no result may hold.
SECRETS = ("hf_tokenOfATest", "secretOfATest")


def check_error(result: dict[str, Any], words: str) -> None:
    """Check that there is one error, which is clear, short and clean."""
    message = result["msg"]
    assert result.get("failed"), result
    assert words in message, message
    assert message.startswith("expected ") and message.count("expected ") == 1
    assert "report this as a bug" not in message and "Error" not in message
    assert message.isprintable() and len(message) < 1000
