# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspect a command line with the rules of the flag guard.

Unknown flags, and combinations that crash the engine after minutes of loading, are rejected before a unit changes.
C(rules) is the table of rules.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...errors import InvalidInputError
from .rules import RULES
from .subject import ERROR, WARNING, Finding, Hit, Rule, Subject, named


def _finding(rule: Rule, hit: Hit, accepted: Collection[str]) -> Finding:
    severity = hit.severity or rule.severity
    severity = WARNING if rule.id in accepted and severity == ERROR else severity
    return Finding(
        rule.id, severity, hit.found, hit.otherwise or rule.otherwise, hit.instead or rule.instead, rule.source
    )


def inspect(subject: Subject, accepted: Collection[str] = ()) -> list[Finding]:
    """Apply every rule to a command line.

    :param accepted: ids of rules that the operator accepts; their findings become warnings.
    """
    unknown = sorted(set(accepted) - {rule.id for rule in RULES})
    if unknown:
        raise InvalidInputError(
            "ids of the flag guard's rules among the accepted ones",
            unknown[0],
            "correct it; docs/reference/flag-guard.md lists the rules",
        )
    rules = [rule for rule in RULES if subject.program in rule.programs]
    return [_finding(rule, hit, accepted) for rule in rules for hit in rule.check(subject)]


def inspect_rule(subject: Subject, rule_id: str) -> list[Finding]:
    """Apply one rule to a command line."""
    return [_finding(rule, hit, ()) for rule in RULES if rule.id == rule_id for hit in rule.check(subject)]


def require_clean(found: Sequence[Finding], program: str) -> list[str]:
    """Raise all errors in one sentence; otherwise return one sentence for each warning."""
    errors = named(ERROR, found)
    if errors:
        raise InvalidInputError(
            f"arguments that this build of {program} takes and survives",
            "; ".join(str(finding) for finding in errors),
            "; ".join(f"{finding.rule}: {finding.instead}" for finding in errors),
        )
    return [
        f"{program}: {finding.found}: {finding.otherwise}. What to do: {finding.instead} ({finding.rule})."
        for finding in named(WARNING, found)
    ]
