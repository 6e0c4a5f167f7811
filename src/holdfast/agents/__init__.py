"""What can be run: the context a run sees, the native agent, workflows, tools. Knows the domain and nothing else."""
