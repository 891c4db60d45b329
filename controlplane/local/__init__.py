"""A whole mesh on this machine from one file: the file (`mesh_file`), where things listen (`layout`), running it (`session`)."""
