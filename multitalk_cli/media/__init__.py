"""Pictures, faces, voices and videos: reading, checking, drawing and writing."""
