"""`ray._private.client_mode_hook`: there is no client mode, so nothing is ever converted."""

is_client_mode_enabled = False


def client_mode_should_convert():
    return False


def disable_client_hook(function):
    return function


def client_mode_hook(function):
    return function
