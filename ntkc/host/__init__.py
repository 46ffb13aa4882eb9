"""Small calls without compilation: what jax traced runs by numpy, primitive after primitive, until XLA would pay."""
