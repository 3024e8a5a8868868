"""Foreign checkpoints to ours, one file per origin. Nothing here executes code that came with a checkpoint."""
