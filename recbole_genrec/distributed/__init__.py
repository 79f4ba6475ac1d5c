"""Several processes, a device each: who they are, how they are started, and how weights are spread over them."""
