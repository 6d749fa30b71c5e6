"""Video files: ffmpeg, writing, probing, recipes."""
