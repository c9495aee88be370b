"""`ray._private.auto_init_hook`: the switch for starting on first use."""

enable_auto_connect = True
