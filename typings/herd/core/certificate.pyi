"""The installed rules are the very files of the collection; this only tells the type checker so."""

from ansible_collections.herd.inference.plugins.module_utils.core.certificate import (
    NO_CHECK_TIME as NO_CHECK_TIME,
)
from ansible_collections.herd.inference.plugins.module_utils.core.certificate import (
    PARTIAL_CHAIN as PARTIAL_CHAIN,
)
from ansible_collections.herd.inference.plugins.module_utils.core.certificate import (
    first as first,
)
