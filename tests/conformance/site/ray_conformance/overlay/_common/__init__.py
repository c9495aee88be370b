"""Parts of `ray._common` that tests reach for."""

import importlib

importlib.import_module("ray._common.ray_option_utils")  # tests take it from here
