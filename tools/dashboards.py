# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generate Grafana's dashboards of the role monitoring with Grafana's own library (make dashboards).

Each dashboard is a table of rows and panels in C(tools/dashboard_panels.py). The library writes the JSON.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

from tools.dashboard_panels import DASHBOARDS, STATES, VALUE, Board, Panel

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "roles" / "monitoring" / "files" / "dashboards"
TAG = "herd"
#: Whoever looks chooses the Prometheus.
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT, COLUMNS = 8, 24
COLORS = {"ok": "green", "warning": "orange", "critical": "red"}


def _query(index: int, expression: str, legend: str, panel: Panel) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expression).legend_format(legend or "__auto").datasource(SOURCE)
    query = query.ref_id(ascii_uppercase[index])
    return query.instant() if panel.kind == VALUE else query.range()


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [models.Threshold(value=value, color=COLORS[level]) for value, level in panel.levels]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _empty(panel: Panel) -> stat.Panel | statetimeline.Panel | timeseries.Panel:
    """Make a panel of a kind, without queries."""
    if panel.kind == VALUE:
        reduced = common.ReduceDataOptions().calcs(["lastNotNull"])
        color = common_models.BigValueColorMode.VALUE
        return stat.Panel().reduce_options(reduced).color_mode(color).no_value("-")
    if panel.kind == STATES:
        return statetimeline.Panel().show_value(common_models.VisibilityMode.NEVER)
    legend = common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM)
    legend = legend.display_mode(common_models.LegendDisplayMode.LIST).calcs([])
    tooltip = common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI)
    tooltip = tooltip.sort(common_models.SortOrder.DESCENDING)
    return timeseries.Panel().legend(legend).tooltip(tooltip).fill_opacity(8).line_width(1)


def _panel(panel: Panel) -> stat.Panel | statetimeline.Panel | timeseries.Panel:
    made = _empty(panel).title(panel.title).description(panel.text).datasource(SOURCE)
    made = made.unit(panel.unit).height(panel.height or HEIGHT).span(panel.width)
    if panel.levels:
        made = made.thresholds(_thresholds(panel))
        if isinstance(made, timeseries.Panel):
            dashed = common.GraphThresholdsStyleConfig().mode(common_models.GraphTresholdsStyleMode.DASHED)
            made = made.thresholds_style(dashed)
    if panel.is_share:
        made = made.min(0).max(1)
    elif panel.kind not in (VALUE, STATES):
        made = made.min(0)
    for index, (expression, legend) in enumerate(panel.queries):
        made = made.with_target(_query(index, expression, legend, panel))
    return made


def _variables(board: Board) -> list[dashboard.DatasourceVariable | dashboard.QueryVariable]:
    found: list[dashboard.DatasourceVariable | dashboard.QueryVariable] = [
        dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    ]
    for name, query in board.variables.items():
        variable = dashboard.QueryVariable(name).label(name).query(query).datasource(SOURCE)
        variable = variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        variable = variable.sort(models.VariableSort.ALPHABETICAL_ASC)
        found.append(variable.multi(True).include_all(True).all_value(".*"))
    return found


def build(board: Board) -> models.Dashboard:
    """Build one dashboard."""
    link = dashboard.DashboardLink(TAG).type(models.DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True)
    made = (
        dashboard.Dashboard(f"herd: {board.title}")
        .uid(f"herd-{board.name}")
        .description(board.text)
        .tags([TAG])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(link.as_dropdown(False).include_vars(False))
        .variables(list(_variables(board)))
    )
    numbers = count(1)
    for title, panels in board.rows.items():
        made = made.with_row(dashboard.Row(title).id(next(numbers)))
        for panel in panels:
            made = made.with_panel(_panel(panel).id(next(numbers)))
    return made.build()


def text(board: Board) -> str:
    """Return the JSON of a dashboard, as Grafana provisions it."""
    return str(JSONEncoder(sort_keys=True, indent=2).encode(build(board))) + "\n"


def main() -> None:
    """Write all dashboards."""
    for board in DASHBOARDS:
        (FOLDER / f"{board.name}.json").write_text(text(board), encoding="utf-8")


if __name__ == "__main__":
    main()
