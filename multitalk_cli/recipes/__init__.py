"""What a video was made from: read, verified, made again, compared."""
