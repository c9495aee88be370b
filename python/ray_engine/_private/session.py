"""The session this process takes part in: whether it is connected, as what, and to which engine.

There is one Session object per process, `session`; connecting and disconnecting change it in place. `number` grows
with each connection, so that whatever was prepared for an earlier one (callers, exported definitions) can tell that it
is stale.

Thread rule: begin() and end() run under lifecycle's lock; readers need none.
"""

import weakref

from ray_engine._private import call_sites
from ray_engine._private.ids import JobID, NodeID, WorkerID
from ray_engine.exceptions import RaySystemError


class Session:
    def __init__(self):
        self.number = 0
        self._users: weakref.WeakSet = weakref.WeakSet()
        self._clear()

    def _clear(self):
        self.connected = False
        self.role: str | None = None  # "driver" or "worker"
        self.info: dict = {}
        self.namespace = ""
        self.has_own_namespace = False  # made up for this job, so no other program can find names in it
        self.actor_lifetime = "non_detached"  # of actors for which none is given
        self.job_id = JobID.nil()
        self.environment: dict[str, str] = {}
        self.captured_group = None  # the placement group in which the children of the running task run
        self.supervisor = None  # the ray-engine process that init() started, if it did

    def begin(self, role: str, info: dict, *, job_id: bytes, settings: dict, environment: dict, supervisor=None):
        """`settings`: those of the job (job.settings()); none for a worker that has no job yet."""
        self.number += 1
        self.role = role
        self.info = info
        self.namespace = settings.get("namespace", self.namespace)
        self.has_own_namespace = settings.get("has_own_namespace", self.has_own_namespace)
        self.actor_lifetime = settings.get("actor_lifetime", self.actor_lifetime)
        self.job_id = JobID(job_id)
        self.environment = environment
        self.supervisor = supervisor
        self.connected = True
        call_sites.begin()

    def end(self):
        """Forgets the connection and what was prepared for it."""
        self._clear()
        self.forget_callers()

    def forget_callers(self):
        """What was prepared is no longer right."""
        users, self._users = self._users, weakref.WeakSet()
        for user in users:
            user._forget_session()

    def forget_at_end(self, user):
        """user._forget_session() is called when this session ends."""
        self._users.add(user)

    def check_connected(self):
        if not self.connected:
            raise RaySystemError("Ray has not been started yet. You can start Ray with 'ray.init()'.")

    @property
    def is_worker(self) -> bool:
        return self.role == "worker"

    @property
    def node_id(self) -> NodeID:
        return NodeID(self.info["node_id"])

    @property
    def worker_id(self) -> WorkerID:
        return WorkerID(self.info["worker_id"])


session = Session()


def check_namespace(namespace):
    """Raises TypeError or ValueError if a namespace cannot be called that; None stands for the program's own."""
    if namespace is None:
        return
    if not isinstance(namespace, str):
        raise TypeError("namespace must be None or a string.")
    if namespace == "":
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
