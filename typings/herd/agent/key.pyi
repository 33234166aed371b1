"""The commands of herdctl; this only tells the type checker where they are."""

from roles.node_agent.files.agent.key import add_command as add_command
