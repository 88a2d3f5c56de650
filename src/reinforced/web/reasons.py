"""The kinds of reasons for which a URL gives no image that another try may mend; a reason is `kind: detail`."""

BUSY = (408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524)
"""HTTP statuses that say: not now."""
UNREACHED = frozenset({"timeout", "connection failed", "name server failed", "deadline"})
"""No answer came."""
TRANSIENT = UNREACHED | {"incomplete body", "host asks to wait", "robots.txt unreachable"} | {f"HTTP {n}" for n in BUSY}
