"""BFCL v4 multi-turn, served by Holdfast: 800 conversations with stateful services, judged by the official checker."""
