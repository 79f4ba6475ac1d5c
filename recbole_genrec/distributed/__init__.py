"""Several processes, a device each: who they are, how they are started, and how weights are spread over them."""

from recbole_genrec.distributed.world import World, current, joined

__all__ = ["World", "current", "joined"]
