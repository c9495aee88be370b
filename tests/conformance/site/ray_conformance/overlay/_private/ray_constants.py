"""`ray._private.ray_constants`: names of error kinds and defaults that tests compare with."""

WORKER_CRASH_PUSH_ERROR = "worker_crash"
WORKER_DIED_PUSH_ERROR = "worker_died"
WORKER_POOL_LARGE_ERROR = "worker_pool_large"
PICKLING_LARGE_OBJECT_PUSH_ERROR = "pickling_large_object"
PUT_RECONSTRUCTION_PUSH_ERROR = "put_reconstruction"
REMOVED_NODE_ERROR = "node_removed"
RESOURCE_DEADLOCK_ERROR = "resource_deadlock"
EXCESS_QUEUEING_WARNING = "excess_queueing_warning"
TASK_PUSH_ERROR = "task"
FUNCTION_SIZE_WARN_THRESHOLD = 10**7
DEFAULT_TASK_MAX_RETRIES = 3

DEFAULT_OBJECT_STORE_MEMORY_PROPORTION = 0.3
DEFAULT_OBJECT_PREFIX = "ray_spilled_objects"
KV_NAMESPACE_FUNCTION_TABLE = b"fun"
NUM_REDIS_GET_RETRIES = 20
AGENT_PROCESS_LIST = []  # there are none
WORKER_PROCESS_SETUP_HOOK_ENV_VAR = "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR"
RAY_ENABLE_RECORD_ACTOR_TASK_LOGGING = False
