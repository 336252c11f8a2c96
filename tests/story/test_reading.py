"""What the walk reads of a page that is being swapped all the time: whole rows, never half of one."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator

import pytest

from tests.story.chromium import PROGRAM, Chromium

SWAPPING = b"""<!doctype html><title>Rows</title><ul id="rows"></ul><script>
// As htmx does it: the new row comes in with attributes of the old one, and gets its own when it settles. Then a fold
// comes in closed and gets its rows when it is opened.
let n = 0;
function settle() { const row = document.querySelector("li"); row.className = "pw-link"; setTimeout(swap, 8); }
function swap() {
    n += 1;
    document.getElementById("rows").innerHTML = "<li class='htmx-settling'>" + n +
        "<div class='pw-fold'><details><summary>more</summary><div class='pw-later'></div></details></div></li>";
    document.querySelector("details").addEventListener("toggle", () => {
        document.querySelector(".pw-later").outerHTML = "<p>unfolded " + n + "</p>";
        setTimeout(settle, 5);
    });
}
swap();
</script>"""


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # noqa: N802  # the name it is called by
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(SWAPPING)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.browser
@pytest.mark.enable_socket
@pytest.mark.skipif(not PROGRAM and os.environ.get("CI") != "true", reason="no Chromium here")
def test_a_row_is_never_read_in_the_middle_of_a_swap(address: str) -> None:
    browser = Chromium(address)
    try:
        browser.get("/")
        read = [browser.look() for _ in range(20)]
    finally:
        browser.close()
    assert [page.text for page in read if not page.root.find("li", class_="pw-link")] == []
    assert [page.text for page in read if "unfolded" not in page.text] == []
    assert len({page.text for page in read}) > 1, "it was swapped meanwhile"
