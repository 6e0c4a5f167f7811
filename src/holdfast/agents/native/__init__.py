"""The native agent: an explicit, resumable loop of model calls and tool calls over recorded steps."""
