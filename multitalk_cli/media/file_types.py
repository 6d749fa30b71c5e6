"""The type of a file by its first bytes, whatever its name."""

import re

READABLE_PICTURES = ("PNG", "JPEG", "WebP", "GIF", "TIFF", "BMP", "AVIF", "HEIC")
OTHER_PICTURES = (
    *("SVG", "PSD", "JPEG 2000", "JPEG XL", "ICO", "PNM", "OpenEXR", "Radiance HDR", "DDS", "QOI"),
    *("a camera raw file", "a camera raw file (CR2)", "a camera raw file (CR3)"),
    *("a camera raw file (ORF)", "a camera raw file (RW2)", "a camera raw file (RAF)"),
)
OTHER_FILES = (
    *("a web page", "a ZIP archive", "metadata of macOS without the file itself"),
    *("a Git LFS pointer without the file itself", "a file packed with gzip"),
    *("JSON text", "XML text", "an answer of a web server"),
)
BASE64_PICTURE = "a picture in base64"
_PICTURE_AS_TEXT = "a picture that was saved or sent as text, which damages it"
MANGLED_PICTURES = (BASE64_PICTURE, _PICTURE_AS_TEXT)
SOUNDS = ("WAV", "FLAC", "Ogg", "MP3", "MP4", "WebM")
_MAGIC = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WebP"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"II\*\0....CR", re.DOTALL), "a camera raw file (CR2)"),
    (re.compile(rb"....ftypcrx ", re.DOTALL), "a camera raw file (CR3)"),
    (re.compile(rb"IIR[OS]|MMOR"), "a camera raw file (ORF)"),
    (re.compile(rb"IIU\0"), "a camera raw file (RW2)"),
    (re.compile(rb"FUJIFILMCCD-RAW"), "a camera raw file (RAF)"),
    (re.compile(rb"\0MRM|FOVb|II\x1a\0\0\0HEAPCCDR"), "a camera raw file"),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "TIFF"),
    (re.compile(rb"....ftyp(avi[fs]|mi[fs]1.{4}([^\0]{4})*?avi[fs])", re.DOTALL), "AVIF"),
    (re.compile(rb"....ftyp(he[iv][cxms]|mif1|msf1)", re.DOTALL), "HEIC"),
    (re.compile(rb"BM(....\0{4}|.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0{3})", re.DOTALL), "BMP"),
    (re.compile(rb"8BPS"), "PSD"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"), "JPEG XL"),
    (re.compile(rb"\0\0\x01\0.\0", re.DOTALL), "ICO"),
    (re.compile(rb"P[1-7]\s"), "PNM"),
    (re.compile(rb"\x76\x2f\x31\x01"), "OpenEXR"),
    (re.compile(rb"#\?(RADIANCE|RGBE)\n"), "Radiance HDR"),
    (re.compile(rb"DDS "), "DDS"),
    (re.compile(rb"qoif"), "QOI"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(\?xml|!--|!DOCTYPE svg|svg).*", re.DOTALL), "SVG"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!DOCTYPE html|html)", re.IGNORECASE), "a web page"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<\?xml"), "XML text"),
    (re.compile(rb"\s*[{\[]\s*[\"{\[]"), "JSON text"),
    (re.compile(rb"HTTP/[12]"), "an answer of a web server"),
    # Line ends that were changed, bytes that are no letters, and bytes taken for letters.
    (re.compile(rb"\x89PNG(\n|\r\r\n|\r\n\x1a\r)|(\xef\xbf\xbd|\xc2\x89)PNG"), _PICTURE_AS_TEXT),
    (
        re.compile(rb"((\xef\xbf\xbd){4}|\xc3\xbf\xc3\x98\xc3\xbf\xc3.)..(JFIF|Exif)", re.DOTALL),
        _PICTURE_AS_TEXT,
    ),
    (
        re.compile(rb"(data:[^,\s]*;base64,)?(iVBORw0KGg|/9j/[24]|R0lGOD|UklGR[\w+/]{6}XRUJQ)"),
        BASE64_PICTURE,
    ),
    (re.compile(rb"%PDF-"), "PDF"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive"),
    (re.compile(rb"\x1f\x8b\x08"), "a file packed with gzip"),
    (re.compile(rb"\0\x05\x16\x07"), "metadata of macOS without the file itself"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer without the file itself"),
    (re.compile(rb"RIFF....WAVE|RF64....WAVE", re.DOTALL), "WAV"),
    (re.compile(rb"fLaC"), "FLAC"),
    (re.compile(rb"OggS"), "Ogg"),
    (re.compile(rb"ID3|\xff[\xe2-\xfd]"), "MP3"),
    (re.compile(rb"....ftyp", re.DOTALL), "MP4"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "WebM"),
)


# A picture behind something else: a mark of byte order, empty lines, a message or a header of HTTP.
_BEHIND = re.compile(
    rb"(\xef\xbb\xbf)?[\t\r\n\x20-\x7e]{0,2000}?"
    rb"(?=\x89PNG\r\n\x1a\n|\xff\xd8\xff[\xdb\xe0-\xef]|RIFF....WEBP)",
    re.DOTALL,
)


def text_before_picture(head: bytes) -> int:
    """The bytes of text before a picture that does not begin at once; 0 for none."""
    found = _BEHIND.match(head)
    return 0 if found is None else found.end()


def kind_of(head: bytes) -> str | None:
    """The format that a file's first 4 kB announce; None for an unknown one."""
    for pattern, kind in _MAGIC:
        if pattern.match(head) and (kind != "SVG" or b"<svg" in head):
            return kind
    return None
