"""`ray.experimental`, where the engine has no part of that name."""
