"""From parameters to report.html."""

import sys

# With it, nbformat's validator would spend a second of every start on a grammar of IRIs, which notebooks do not have.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
