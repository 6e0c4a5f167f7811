"""The native HTTP API: parse, call one service verb, serialise. Nothing is decided here."""
