"""``python -m tests.jobs.sweep``: a death at every boundary, in process, then real kills; prints one JSON object.

What is wrong is said in words on standard error, and the exit status is 1.
"""

from __future__ import annotations

import json
import sys

from tests.jobs import kills
from tests.sync import sweep as points


def main() -> int:
    counts, words = points.report()
    print(f"{counts['boundaries']} boundaries done; now the kills", file=sys.stderr)
    killed = kills.report()
    words = [*words, *killed["violations"], *killed["stuck_at"]]
    if killed["open"] != killed["kills"]:
        words.append(f"{killed['kills'] - killed['open']} kills met no open attempt")
    for each in words:
        print(each, file=sys.stderr)
    told = {"boundaries": counts["boundaries"], "kills": killed["kills"]}
    told |= {name: counts[name] + killed[name] for name in points.COUNTS}
    print(json.dumps(told))
    return int(bool(words) or any(told[name] for name in points.COUNTS))


if __name__ == "__main__":
    sys.exit(main())
