"""Actors: objects that live in a process of their own. A bank whose accounts are shared by tasks and found by name.

mpirun -n 2 ray-engine actors.py      or      python actors.py
"""

import ray_engine as ray


@ray.remote
class Account:
    """State that lives between calls. Calls of one caller run in the order in which they were made."""

    def __init__(self, owner, balance=0):
        self.owner, self.balance, self.moves = owner, balance, []

    def deposit(self, amount):
        self.moves.append(amount)
        self.balance += amount
        return self.balance

    def withdraw(self, amount):
        if amount > self.balance:
            raise ValueError(f"{self.owner} has only {self.balance}")
        return self.deposit(-amount)

    @ray.method(num_returns=2)
    def statement(self):
        return self.balance, self.moves


@ray.remote
def pay(source, target, amount):
    """A handle may be passed to tasks: they talk to the same actor."""
    ray.get(source.withdraw.remote(amount))
    return ray.get(target.deposit.remote(amount))


@ray.remote
def pay_salary(name, amount):
    """A named actor can be found from anywhere."""
    return ray.get(ray.get_actor(name).deposit.remote(amount))


def main():
    ray.init(namespace="bank")
    ada = Account.options(name="ada").remote("Ada", balance=100)
    bob = Account.remote("Bob")

    in_order = ray.get([ada.deposit.remote(amount) for amount in (1, 2, 3)])
    print(f"balances in order: {in_order}")

    ray.get([pay.remote(ada, bob, 10) for _ in range(5)])
    ray.get(pay_salary.remote("ada", 1000))
    (ada_has, ada_moves), (bob_has, _) = (ray.get(list(account.statement.remote())) for account in (ada, bob))
    print(f"Ada {ada_has} after {len(ada_moves)} moves, Bob {bob_has}")

    try:
        ray.get(bob.withdraw.remote(10_000))
    except ValueError as error:
        print(f"refused: {str(error).strip().splitlines()[-1]}")
    print(f"Bob's account lives on: {ray.get(bob.statement.remote()[0])}")

    ray.kill(bob)
    try:
        ray.get(bob.deposit.remote(1))
    except ray.exceptions.RayActorError as error:
        print(f"after kill: {type(error).__name__}")


if __name__ == "__main__":
    main()
