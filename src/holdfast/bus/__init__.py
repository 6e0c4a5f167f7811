"""Wake-ups and ephemeral deltas, in a process and between processes. Losing a message costs latency, never truth."""
