"""Errors of the state API."""


class RayStateApiException(Exception):
    """The state API was asked for something it cannot answer."""
