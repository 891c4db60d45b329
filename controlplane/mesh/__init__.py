"""The mesh as the operator declared it, indexed (`mesh`), and what each proxy needs of it (`planning`). Pure."""
