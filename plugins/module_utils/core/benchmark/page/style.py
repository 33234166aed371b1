# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The style of a benchmark's page: the colours of the gateway's status page, and six for the lines of plots."""

from __future__ import annotations

CSS = """
:root { color-scheme: light dark;
  --text: #1b1f24; --soft: #57606a; --page: #f6f8fa; --card: #ffffff; --line: #d0d7de;
  --good: #116329; --some: #7d4e00; --bad: #a40e26;
  --c0: #0550ae; --c1: #a04100; --c2: #116329; --c3: #8250df; --c4: #a40e26; --c5: #57606a; }
@media (prefers-color-scheme: dark) { :root {
  --text: #e6edf3; --soft: #9da7b3; --page: #0d1117; --card: #161b22; --line: #3d444d;
  --good: #56d364; --some: #e3b341; --bad: #ff8a80;
  --c0: #79c0ff; --c1: #ffa657; --c2: #56d364; --c3: #d2a8ff; --c4: #ff8a80; --c5: #9da7b3; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.25rem; line-height: 1.2; margin: 0 0 .5rem; }
header p, .note { color: var(--soft); margin: .25rem 0; }
.note { font-size: .875rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; margin: 1rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
th, td { padding: .35rem .5rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
thead th { color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom; }
th:first-child, .text, .words td, .words th { text-align: left; }
td.text { white-space: normal; }
tbody th { font-weight: 600; }
.words td, .words th { white-space: normal; overflow-wrap: anywhere; }
.words th { min-width: 10rem; }
td { font-variant-numeric: tabular-nums; }
.level { font-weight: 700; padding: 0 .6rem; border: 2px solid currentcolor; border-radius: 1rem; color: var(--soft); }
.level[data-level="target"] { color: var(--good); }
.level[data-level="acceptable"], .level[data-level="poor"] { color: var(--some); }
.level[data-level="critical"] { color: var(--bad); }
.problems { margin: 0 0 .5rem; padding-left: 1.25rem; color: var(--bad); }
.plot { display: block; width: 100%; min-width: 28rem; max-width: 52rem; height: auto; margin: 0 auto; }
.plot text { font: 12px system-ui, sans-serif; fill: var(--soft); }
.figures .plot { min-width: 0; }
.figures .plot text { font-size: 18px; }
.plot .axis { fill: var(--text); }
.grid { stroke: var(--line); }
.limit { stroke: var(--soft); stroke-dasharray: 6 4; stroke-width: 1.5; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.bar { stroke-width: 2; }
.middle { stroke: var(--text); stroke-width: 2; }
.fill { fill-opacity: .45; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); }
.s3 { stroke: var(--c3); } .s4 { stroke: var(--c4); } .s5 { stroke: var(--c5); }
.dot.s0, .fill.s0 { fill: var(--c0); } .dot.s1 { fill: var(--c1); } .dot.s2 { fill: var(--c2); }
.dot.s3 { fill: var(--c3); } .dot.s4 { fill: var(--c4); } .dot.s5 { fill: var(--c5); }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; margin: .5rem 0; padding: 0;
  font-size: .875rem; justify-content: center; }
.key { display: inline-block; width: 1.25rem; height: .25rem; margin-right: .4rem; vertical-align: middle; }
.k0 { background: var(--c0); } .k1 { background: var(--c1); } .k2 { background: var(--c2); }
.k3 { background: var(--c3); } .k4 { background: var(--c4); } .k5 { background: var(--c5); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; font-size: .875rem; }
dl { font-size: .875rem; }
dt { font-weight: 600; }
dd { margin: 0 0 .25rem; color: var(--soft); }
@media (max-width: 40rem) { body { padding: .75rem; } section { padding: .75rem; } .plot text { font-size: 15px; } }
@media print { section { break-inside: avoid; } }
"""
