"""Program  ->  JAX source."""

from ntkc.backends.jax.module import emit

__all__ = ["emit"]
