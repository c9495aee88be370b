"""What type checkers see of tasks and objects. A line that is wrong ends in the code of mypy's error."""

from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import ray_engine as ray
from ray_engine import ObjectRef, ObjectRefGenerator
from typing_extensions import assert_type


@ray.remote
def shown(number: int) -> str:
    return str(number)


@ray.remote
def joined(text: str, number: int = 1, *, end: str = "") -> bytes:
    return b""


@ray.remote
def total(*numbers: int) -> int:
    return sum(numbers)


@ray.remote
def untyped(a, b=1):
    return a


@ray.remote
def half_typed(a: int):
    return a


@ray.remote
def nothing() -> None: ...


number, text, flag = ray.put(1), ray.put("x"), ray.put(True)

# ---- calls ----------------------------------------------------------------------------------------------------------

assert_type(shown.remote(1), ObjectRef[str])
assert_type(shown.remote(number=1), ObjectRef[str])
assert_type(joined.remote("x"), ObjectRef[bytes])
assert_type(joined.remote("x", 2, end="!"), ObjectRef[bytes])
assert_type(total.remote(1, 2, 3), ObjectRef[int])
assert_type(untyped.remote(1, 2), ObjectRef[Any])
assert_type(half_typed.remote(1), ObjectRef[Any])
assert_type(nothing.remote(), ObjectRef[None])

shown.remote("x")  # call-overload
shown.remote()  # call-overload
shown.remote(1, 2)  # call-overload
joined.remote("x", end=1)  # call-overload
total.remote("x")  # call-overload
untyped.remote()  # call-overload
half_typed.remote("x")  # call-overload
shown.remot(1)  # attr-defined
shown(1)  # operator
shown.remote(1).upper()  # attr-defined

# ---- references as arguments ----------------------------------------------------------------------------------------

assert_type(shown.remote(number), ObjectRef[str])
assert_type(shown.remote(flag), ObjectRef[str])
assert_type(joined.remote(text, 1), ObjectRef[bytes])
assert_type(joined.remote("x", number), ObjectRef[bytes])
assert_type(total.remote(number, number), ObjectRef[int])
assert_type(untyped.remote(number), ObjectRef[Any])
assert_type(half_typed.remote(number), ObjectRef[Any])
assert_type(total.remote(total.remote(1, 2), total.remote(3, 4)), ObjectRef[int])

shown.remote(text)  # arg-type
joined.remote(number, 1)  # arg-type

# ---- functions that yield -------------------------------------------------------------------------------------------


@ray.remote
def generator(count: int) -> Generator[int, None, None]:
    yield count


@ray.remote
def iterator() -> Iterator[str]:
    yield ""


@ray.remote
async def asynchronous() -> AsyncIterator[bytes]:
    yield b""


assert_type(generator.remote(3), ObjectRefGenerator[int])
assert_type(generator.remote(number), ObjectRefGenerator[int])
assert_type(iterator.remote(), ObjectRefGenerator[str])
assert_type(asynchronous.remote(), ObjectRefGenerator[bytes])
assert_type(next(generator.remote(3)), ObjectRef[int])
assert_type([ray.get(ref) for ref in iterator.remote()], list[str])
generator.remote("x")  # call-overload

# ---- options --------------------------------------------------------------------------------------------------------


@ray.remote(num_cpus=2, resources={"custom": 1}, scheduling_strategy="SPREAD", retry_exceptions=[ValueError])
def with_options(number: int) -> str:
    return ""


@ray.remote(num_returns=2)
def two(number: int) -> tuple[int, int]:
    return 1, 2


@ray.remote(num_returns=0)
def silent() -> None: ...


assert_type(with_options.remote(number), ObjectRef[str])
assert_type(with_options.options(name="x", num_gpus=0.5).remote(1), ObjectRef[str])
assert_type(two.remote(1), list[ObjectRef[Any]])
assert_type(two.remote(number), list[ObjectRef[Any]])
assert_type(silent.remote(), None)
assert_type(shown.options(num_returns=2).remote(1), list[ObjectRef[Any]])
assert_type(shown.options(num_returns=0).remote(1), None)

shown.options(num_cpu=1)  # call-overload
shown.options(max_restarts=1)  # call-overload
two.remote("x")  # call-overload
ray.remote(num_cpu=1)  # call-overload
ray.remote(num_cpus="2")  # call-overload

# ---- objects --------------------------------------------------------------------------------------------------------

assert_type(number, ObjectRef[int])
assert_type(ray.get(number), int)
assert_type(ray.get([number, number], timeout=1), list[int])
assert_type(ray.wait([number, number], num_returns=2, timeout=0.5), tuple[list[ObjectRef[int]], list[ObjectRef[int]]])
assert_type(number.future().result(), int)
assert_type(number.hex(), str)
assert_type(ray.is_initialized(), bool)


async def waits() -> str:
    return await shown.remote(1)


ray.get(1)  # call-overload
ray.get(number, timeot=1)  # call-overload
ray.get(number).upper()  # attr-defined
ray.wait(number)  # arg-type
ray.kill(number)  # arg-type
ray.init(num_cpus="4")  # arg-type
ray.nods()  # attr-defined
