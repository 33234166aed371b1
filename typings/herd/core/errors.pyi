"""The installed rules are the very files of the collection; this only tells the type checker so."""

from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    HerdError as HerdError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    InvalidInputError as InvalidInputError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    RemoteFailureError as RemoteFailureError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    NotFoundError as NotFoundError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    InsufficientError as InsufficientError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    MismatchError as MismatchError,
)
