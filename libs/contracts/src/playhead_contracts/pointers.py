"""Where something stands in a document: JSON Pointers in URI fragment form (RFC 6901 section 6)."""

from urllib.parse import quote

_FRAGMENT_SAFE = "/!$&'()*+,;=:@?-._~"


def pointer(*segments: str | int) -> str:
    """`pointer("blocks", "a/b", 0)` is `#/blocks/a~1b/0`; without segments `#`, the whole document."""
    escaped = (str(segment).replace("~", "~0").replace("/", "~1") for segment in segments)
    return "#" + "".join("/" + quote(segment, safe=_FRAGMENT_SAFE, errors="replace") for segment in escaped)
