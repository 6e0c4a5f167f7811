"""Speed, as ratios inside one run. `python -m bench` (or `make bench`) prints a table; nothing here is a test."""
