"""Endings of the names of files that may be inputs: for completion, and for pairs in a folder."""

PICTURES = ("png", "jpg", "jpeg", "webp", "gif", "tif", "tiff", "bmp", "avif", "heic", "heif")
PLAN_PICTURE = ".plan.png"  # what --plan writes: nobody makes a video of it
SOUNDS = (
    "wav", "flac", "mp3", "ogg", "oga", "opus", "m4a", "webm", "mp4", "mov", "aac", "aif", "aiff",
    "amr", "3gp", "avi", "caf", "flv", "mka", "mkv", "mpg", "ts", "w64", "wma", "wv",
)  # fmt: skip
