"""The bijections under the name at which the field looks for them: ``svijax.distributions.transforms``."""

from svijax.transforms import *  # noqa: F403
