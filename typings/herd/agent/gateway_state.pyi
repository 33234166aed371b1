"""The commands of herdctl; this only tells the type checker where they are."""

from roles.node_agent.files.agent.gateway_state import (
    DEFAULT_PATH as DEFAULT_PATH,
    FRESH_S as FRESH_S,
    Keys as Keys,
    Settings as Settings,
    Tiers as Tiers,
    read_settings as read_settings,
    say as say,
)
