"""The installed rules are the very files of the collection; this only tells the type checker so."""

from ansible_collections.herd.inference.plugins.module_utils.core.gate_rule import (
    EXIT_CONFIG as EXIT_CONFIG,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gate_rule import (
    EXIT_READY as EXIT_READY,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gate_rule import (
    Expectation as Expectation,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gate_rule import (
    Gate as Gate,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gate_rule import (
    Observation as Observation,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gate_rule import (
    Verdict as Verdict,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gate_rule import (
    describe as describe,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gate_rule import (
    exit_code as exit_code,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gate_rule import (
    judge as judge,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gate_rule import (
    read_gate as read_gate,
)
