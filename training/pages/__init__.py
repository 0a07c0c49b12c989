"""Pages of the training room: the wizard, runs, jobs, the playground."""
