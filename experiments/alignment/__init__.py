"""What alignment's binaries are made of: what each kind of run learns from, judges, policies."""
