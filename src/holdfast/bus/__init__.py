"""Wake-ups and ephemeral deltas, within a process and between processes. Losing a message costs latency, never truth."""
