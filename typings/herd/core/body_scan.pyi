"""The installed rules are the very files of the collection; this only tells the type checker so."""

from ansible_collections.herd.inference.plugins.module_utils.core.body_scan import *
