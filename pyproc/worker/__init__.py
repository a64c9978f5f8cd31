"""What runs in a worker: the registry of functions, and the bootstrap that serves them."""
