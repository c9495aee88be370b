"""`ray._private.auto_init_hook`: the switch for starting on first use, which is an environment variable here."""

import os
import sys

from ray_conformance.stubs import StubModule


class _Module(StubModule):
    @property
    def enable_auto_connect(self):
        return os.environ.get("RAY_ENABLE_AUTO_CONNECT") != "0"

    @enable_auto_connect.setter
    def enable_auto_connect(self, enabled):
        os.environ["RAY_ENABLE_AUTO_CONNECT"] = "1" if enabled else "0"


sys.modules[__name__].__class__ = _Module
