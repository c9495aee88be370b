"""`ray.tests`: helper modules of the checkout's test folder, found by the import hook."""
