"""Parts of `ray._private` that tests reach for."""
