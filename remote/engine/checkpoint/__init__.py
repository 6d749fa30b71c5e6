"""Published checkpoints, tensor files and their reading."""
