"""Parts of `ray._common` that tests reach for."""
