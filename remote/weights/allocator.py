"""Settings of torch's memory allocator, for images and for the local backend."""

# Without it, windows of other sizes leave gaps of a few GiB, which small GPUs need; and the host's
# memory for streamed blocks is pinned in a quarter of the time.
ALLOCATOR = ",".join(
    (
        "expandable_segments:True",
        "pinned_use_cuda_host_register:True",
        "pinned_num_register_threads:8",
    )
)
