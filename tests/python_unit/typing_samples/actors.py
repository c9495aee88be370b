"""What mypy sees of actors with the plugin. A line that is wrong ends in the code of mypy's error."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, TypeVar

import ray_engine as ray
from ray_engine import ObjectRef, ObjectRefGenerator
from ray_engine.actor import ActorHandle
from typing_extensions import assert_type

T = TypeVar("T")


class Named:
    def name(self) -> str:
        return ""


@ray.remote
class Account(Named):
    def __init__(self, owner: str, balance: int = 0) -> None:
        self.balance = balance

    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    def twice(self, amount: int) -> int:
        return self.deposit(amount) + self.deposit(amount)

    def untyped(self, a, b=1):
        return a

    async def slow(self, text: str = "") -> str:
        return text

    def moves(self, limit: int) -> Iterator[int]:
        yield limit

    async def news(self) -> AsyncIterator[str]:
        yield ""

    @ray.method
    def plain(self) -> bytes:
        return b""

    @ray.method(num_returns=2)
    def statement(self) -> tuple[int, list[int]]:
        return 0, []

    @ray.method(num_returns=0)
    def forget(self) -> None: ...

    @ray.method(concurrency_group="io", max_task_retries=1)
    def read(self, path: str) -> bytes:
        return b""


@ray.remote(num_cpus=1, max_restarts=-1, concurrency_groups={"io": 2})
class NoConstructor:
    def ready(self) -> bool:
        return True


@ray.remote
class Cell(Generic[T]):
    def get(self) -> int:
        return 1


account = Account.remote("Ada", balance=100)
number, text = ray.put(1), ray.put("x")

# ---- making them ----------------------------------------------------------------------------------------------------

assert_type(account, ActorHandle[Account])
assert_type(Account.options(name="ada", lifetime="detached").remote("Ada"), ActorHandle[Account])
assert_type(Account.remote(text, balance=number), ActorHandle[Account])
assert_type(NoConstructor.remote(), ActorHandle[NoConstructor])
assert_type(ray.remote(Named).remote(), ActorHandle[Named])
assert_type(Cell.remote().get.remote(), ObjectRef[int])

Account.remote()  # call-arg
Account.remote(1)  # arg-type
Account.remote("Ada", number, 3)  # call-arg
Account.options(name="ada").remote(1)  # arg-type
Account.options(nam="ada")  # call-arg
NoConstructor.remote(1)  # call-arg

# ---- methods --------------------------------------------------------------------------------------------------------

assert_type(account.deposit.remote(1), ObjectRef[int])
assert_type(account.deposit.remote(number), ObjectRef[int])
assert_type(account.deposit.remote(amount=number), ObjectRef[int])
assert_type(account.name.remote(), ObjectRef[str])
assert_type(account.untyped.remote(1), ObjectRef[Any])
assert_type(account.slow.remote(text="x"), ObjectRef[str])
assert_type(account.moves.remote(3), ObjectRefGenerator[int])
assert_type(account.news.remote(), ObjectRefGenerator[str])
assert_type(account.plain.remote(), ObjectRef[bytes])
assert_type(account.statement.remote(), list[ObjectRef[Any]])
assert_type(account.forget.remote(), None)
assert_type(account.read.remote("x"), ObjectRef[bytes])
assert_type(account.deposit.options(name="x").remote(1), ObjectRef[int])
assert_type(account.plain.options(num_returns=2).remote(), list[ObjectRef[Any]])
assert_type(ray.get(account.__ray_ready__.remote()), Any)
assert_type(ray.get_actor("ada").anything.remote(1), ObjectRef[Any])

account.deposit.remote("x")  # call-overload
account.deposit.remote(text)  # arg-type
account.deposit.remote()  # call-overload
account.plain.remote(1)  # call-arg
account.slow.remote(1)  # call-overload
account.deposi.remote(1)  # attr-defined
account.deposit(1)  # operator
account.deposit.options(num_cpus=1)  # call-overload


def pay(target: ActorHandle[Account]) -> ObjectRef[int]:
    return target.deposit.remote(1)


pay(account)
pay(NoConstructor.remote())  # arg-type

# ---- a reference by name, which needs the plugin for functions too --------------------------------------------------


@ray.remote
def shown(number: int) -> str:
    return str(number)


assert_type(shown.remote(number=number), ObjectRef[str])
shown.remote(number=text)  # arg-type
