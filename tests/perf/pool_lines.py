"""The lines of the microbenchmark with a multiprocessing.Pool, the standard library's or one with its interface.
Calls are submitted one by one, as under all other engines: `map` with chunks would send many as one task."""


def small_value():
    return b"ok"


class Actor:
    def small_value(self):
        return b"ok"


def make_actor():
    global actor
    actor = Actor()


def call():
    return actor.small_value()


def get(results):
    return [result.get() for result in results]


def run(lines, multiprocessing):
    """Two workers for tasks; an actor is a pool of one process whose initializer makes the object."""
    with multiprocessing.Pool(2) as pool:
        lines.tasks(lambda: pool.apply_async(small_value), get)
    with multiprocessing.Pool(1, make_actor) as pool:
        lines.actor_calls(lambda: pool.apply_async(call), get)
