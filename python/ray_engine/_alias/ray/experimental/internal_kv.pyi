from ray_engine.experimental.internal_kv import (
    _internal_kv_del as _internal_kv_del,
)
from ray_engine.experimental.internal_kv import (
    _internal_kv_exists as _internal_kv_exists,
)
from ray_engine.experimental.internal_kv import (
    _internal_kv_get as _internal_kv_get,
)
from ray_engine.experimental.internal_kv import (
    _internal_kv_initialized as _internal_kv_initialized,
)
from ray_engine.experimental.internal_kv import (
    _internal_kv_list as _internal_kv_list,
)
from ray_engine.experimental.internal_kv import (
    _internal_kv_put as _internal_kv_put,
)
