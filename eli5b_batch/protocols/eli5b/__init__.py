"""ELI5B: the protocol, its prompts, and the names of its conditions. Importing this costs nothing."""
