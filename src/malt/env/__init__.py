"""The state as an environment: world models, and true worlds, to act in, fork and restore."""

from malt.env.environment import Environment as Environment
from malt.env.environment import MemorySpec as MemorySpec
from malt.env.making import make as make
