"""The installed rules are the very files of the collection; this only tells the type checker so."""

from ansible_collections.herd.inference.plugins.module_utils.core.rpc_protocol import (
    DEVICE_COUNT as DEVICE_COUNT,
)
from ansible_collections.herd.inference.plugins.module_utils.core.rpc_protocol import (
    LENGTH_SIZE as LENGTH_SIZE,
)
from ansible_collections.herd.inference.plugins.module_utils.core.rpc_protocol import (
    decode_device_count as decode_device_count,
)
from ansible_collections.herd.inference.plugins.module_utils.core.rpc_protocol import (
    decode_device_memory as decode_device_memory,
)
from ansible_collections.herd.inference.plugins.module_utils.core.rpc_protocol import (
    decode_hello as decode_hello,
)
from ansible_collections.herd.inference.plugins.module_utils.core.rpc_protocol import (
    decode_length as decode_length,
)
from ansible_collections.herd.inference.plugins.module_utils.core.rpc_protocol import (
    device_memory_request as device_memory_request,
)
from ansible_collections.herd.inference.plugins.module_utils.core.rpc_protocol import (
    hello_request as hello_request,
)
from ansible_collections.herd.inference.plugins.module_utils.core.rpc_protocol import (
    hello_size as hello_size,
)
from ansible_collections.herd.inference.plugins.module_utils.core.rpc_protocol import (
    request as request,
)
from ansible_collections.herd.inference.plugins.module_utils.core.rpc_protocol import (
    parse_version as parse_version,
)
