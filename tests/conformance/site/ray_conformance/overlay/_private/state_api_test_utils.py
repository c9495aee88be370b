"""`ray._private.state_api_test_utils`: calling the state API and checking what it says."""

import time

from ray.util.state import list_tasks

DEFAULT_TIMEOUT_S = 600


def invoke_state_api(
    verify_cb, state_api_fn, state_stats=None, key_suffix=None, print_result=False, err_msg=None, **kwargs
):
    kwargs.setdefault("timeout", DEFAULT_TIMEOUT_S)
    result = state_api_fn(raise_on_missing_output=False, **kwargs)
    if print_result:
        print(result)
    assert verify_cb(result), f"{state_api_fn.__name__} answered {len(result)} entries: {err_msg}"
    return result


def invoke_state_api_n(*args, **kwargs):
    """True to the original: several calls, because the answer may lag behind."""
    end = time.monotonic() + 10
    while True:
        try:
            return invoke_state_api(*args, **kwargs)
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def verify_failed_task(name, error_type, error_message):
    tasks = list_tasks(filters=[("name", "=", name)], detail=True)
    assert len(tasks) == 1, tasks
    task = tasks[0]
    assert task["state"] == "FAILED" and task["error_type"] == error_type, task
    for text in [error_message] if isinstance(error_message, str) else error_message:
        assert text in task.get("error_message", ""), task
    return True
