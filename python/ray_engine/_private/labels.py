"""Label selectors: are keys and values well-formed (the rules are those of Kubernetes labels)."""

import re

NODE = "ray.io/node-id"  # of every node: its id in hex
_MAX_FALLBACKS = 62  # that the scheduler looks at
_NAME = r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_name = re.compile(_NAME)
_prefix = re.compile(rf"{_NAME}(\.{_NAME})*")
_selector = re.compile(rf"!?{_NAME}|!?in\({_NAME}(, ?{_NAME})*\)")
_RULE = (
    "63 chars or less beginning and ending with an alphanumeric character, with dashes, underscores and dots between"
)


def key_problem(key: str):
    """What is wrong with a label key; None if nothing."""
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _prefix.fullmatch(prefix)):
        return (
            f"Invalid label key prefix `{prefix}`. Prefix must be DNS labels separated by dots, 253 characters at most."
        )
    if not _name.fullmatch(name):
        return f"Invalid label key name `{name}`. Name must be {_RULE}."
    return None


def selector_problem(selector):
    """What is wrong with a label_selector option; None if nothing."""
    for key, value in (selector or {}).items():
        problem = key_problem(key)
        if problem:
            return problem
        if value and not _selector.fullmatch(value):
            return (
                f"Invalid label selector value `{value}`. The label selector value should contain optional operators "
                f"(! and in) and label values of {_RULE}."
            )
    return None


def fallback_problem(strategies):
    """What is wrong with a fallback_strategy option; None if nothing."""
    if len(strategies or ()) > _MAX_FALLBACKS:
        return f"fallback_strategy may have {_MAX_FALLBACKS} elements at the most, got {len(strategies)}."
    for strategy in strategies or ():
        if not isinstance(strategy, dict):
            return "Each element in fallback_strategy must be a dictionary."
        if not strategy:
            return "Empty dictionary found in `fallback_strategy`."
        for option in strategy:
            if option != "label_selector":
                return f"Unsupported option found: '{option}'. Only ['label_selector'] is currently supported."
        if not isinstance(strategy["label_selector"], dict):
            return 'The value of "label_selector" must be a dictionary.'
        problem = selector_problem(strategy["label_selector"])
        if problem:
            return problem
    return None


def check_node_labels(labels):
    """Raises if `labels` cannot be the labels of a node."""
    if not isinstance(labels, dict):
        raise TypeError(f"labels must be a dictionary of strings, got {type(labels)}")
    for key, value in labels.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ValueError(f"labels must be a dictionary of strings, got {key!r}: {value!r}")
        problem = key_problem(key)
        if problem is None and value and not _name.fullmatch(value):
            problem = f"Invalid label key value `{value}`. Value must be {_RULE}."
        if problem:
            raise ValueError(problem)
