"""Quantities of resources: which amounts there can be."""

_UNIT = 10000  # resources are counted in 1/10,000
_LARGEST = 10**14  # ResourceSet::kLargest


def quantity_problem(name, quantity):
    """What is wrong with an amount of a resource; None if nothing."""
    if quantity is None:
        return None
    if quantity < 0:
        return f"The quantity of resource {name} cannot be negative"
    if not quantity <= _LARGEST:
        return f"The quantity of resource {name} cannot be {quantity}; the most is {_LARGEST}"
    if isinstance(quantity, float) and quantity != 0 and int(quantity * _UNIT) == 0:
        return f"The precision of the fractional quantity of resource {name} cannot go beyond 0.0001"
    return None
