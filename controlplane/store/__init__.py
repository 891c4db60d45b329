"""Where declared state lives: one port, a file a store. All stores pass tests/contract."""
