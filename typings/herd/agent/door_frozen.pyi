"""The parts of herdctl; this only tells the type checker where they are."""

from roles.node_agent.files.agent.door_frozen import *
