"""From a request to a video: decode, run, resume, store, measure."""
