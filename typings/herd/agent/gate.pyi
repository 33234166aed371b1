"""The commands of herdctl; this only tells the type checker where they are."""

from roles.node_agent.files.agent.gate import add_command as add_command
from roles.node_agent.files.agent.gate import wait_for as wait_for
