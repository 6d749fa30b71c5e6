"""Settings of torch's memory allocator, for images and for the local backend."""

# Windows of other sizes leave gaps of a few GiB otherwise, which small cards miss; and the host's
# memory for streamed blocks is pinned in a quarter of the time.
ALLOCATOR = ",".join(
    (
        "expandable_segments:True",
        "pinned_use_cuda_host_register:True",
        "pinned_num_register_threads:8",
    )
)
