"""Ways to learn who is asking: a file a method, each turning evidence into selectors. Pure."""
