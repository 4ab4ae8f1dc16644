"""Training a network for a task: `fit` is the loop (in `loop`), the other modules are what it is made of."""
