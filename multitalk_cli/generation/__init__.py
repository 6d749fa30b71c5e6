"""From a spec to prepared inputs, a job and its result."""
