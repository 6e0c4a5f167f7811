"""Background work, one file a duty: supervisor, worker, executor, context, leases, recovery, blocking calls."""
