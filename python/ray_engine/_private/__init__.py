"""What stands behind the public names of ray_engine. Nothing here is meant to be imported by programs."""
