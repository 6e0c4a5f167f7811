"""Pure rules: frozen data, transition tables, decisions. No I/O, no framework, no clock."""
