"""Every use case exactly once: authorise, one transaction, notify after commit. All surfaces call these verbs."""
