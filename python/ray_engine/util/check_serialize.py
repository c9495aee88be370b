"""What keeps an object from being serialised."""

from typing import Any, TextIO

from ray_engine._private import culprit
from ray_engine._private.culprit import FailureTuple as FailureTuple
from ray_engine._private.serialization import dumps_plain


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Prints a report; returns whether `base_obj` can be serialised, and the set of FailureTuples.

    - name: what the report calls the object; its repr if None.
    - depth: how many culprits of one chain of holders are looked for.
    - print_file: where the report goes; standard output if None.
    """
    return culprit.report(dumps_plain, base_obj, name, depth, print_file)
