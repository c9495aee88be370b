"""The former place of `ray.util.state`."""
