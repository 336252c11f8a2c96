"""A browser without a picture: cookies, pages, and forms filled in and sent as a browser sends them."""

from __future__ import annotations

import http.cookiejar
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

VOID = frozenset(("area", "br", "col", "hr", "img", "input", "link", "meta", "source", "use", "path", "rect", "circle"))
UNSEEN = frozenset(("script", "style", "title", "template", "option"))
INLINE = frozenset(("a", "b", "code", "em", "i", "small", "span", "strong"))


@dataclass
class Node:
    tag: str
    attrs: dict[str, str]
    up: Node | None = None
    parts: list[Node | str] = field(default_factory=list)

    def all(self) -> Iterator[Node]:
        yield self
        for part in self.parts:
            if isinstance(part, Node):
                yield from part.all()

    def find(self, tag: str, **attrs: str) -> list[Node]:
        wanted = {name.strip("_").replace("_", "-"): value for name, value in attrs.items()}
        return [
            node
            for node in self.all()
            if node.tag == tag and all(value in node.attrs.get(name, "").split(" ") for name, value in wanted.items())
        ]

    @property
    def text(self) -> str:
        """What one reads here, with single blanks."""
        return " ".join(self._raw().split())

    @property
    def inside(self) -> str:
        """Its own characters, as of an option, which is not read before it is chosen."""
        return "".join(part for part in self.parts if isinstance(part, str)).strip()

    def _raw(self) -> str:
        if self.tag in UNSEEN:
            return ""
        inner = "".join(part if isinstance(part, str) else part._raw() for part in self.parts)
        return inner if self.tag in INLINE else f" {inner} "

    @property
    def form(self) -> Node | None:
        """The form it stands in."""
        node = self.up
        while node is not None and node.tag != "form":
            node = node.up
        return node


class _Tree(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = self.here = Node("html", {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs}, self.here)
        self.here.parts.append(node)
        if tag not in VOID:
            self.here = node

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.here.parts.append(Node(tag, {name: value or "" for name, value in attrs}, self.here))

    def handle_endtag(self, tag: str) -> None:
        node = self.here
        while node.up is not None and node.tag != tag:
            node = node.up
        if node.up is not None:
            self.here = node.up

    def handle_data(self, data: str) -> None:
        self.here.parts.append(data)


@dataclass
class Page:
    url: str
    status: int
    raw: bytes
    root: Node

    @property
    def text(self) -> str:
        return self.root.text

    def at(self, html_id: str) -> str:
        """What stands in the element of this id; "" without one."""
        return next((node.text for node in self.root.all() if node.attrs.get("id") == html_id), "")

    def links(self, words: str) -> list[str]:
        return [node.attrs.get("href", "") for node in self.root.find("a") if node.text.startswith(words)]

    def can_follow(self, words: str) -> bool:
        return bool(self.links(words))

    def link(self, words: str) -> str:
        """Where the first link with these words leads."""
        found = self.links(words)
        assert found, f"{self.url} has no link {words!r}"
        return found[0]

    def button(self, words: str, fields: Iterable[str] = ()) -> Node:
        """The first button with these words whose form can take ``fields``."""
        found = [node for node in self.root.find("button") if node.text.startswith(words)]
        assert found, f"{self.url} has no button {words!r}"
        able = [node for node in found if set(fields) <= self.names(self.form_of(node))]
        assert able, f"the form of {words!r} of {self.url} has no {set(fields)}"
        assert "disabled" not in able[0].attrs, f"the button {words!r} of {self.url} is disabled"
        return able[0]

    def names(self, form: Node) -> set[str]:
        """The fields that a person can fill in."""
        return {node.attrs["name"] for node in form.all() if "name" in node.attrs and "disabled" not in node.attrs}

    def can_press(self, words: str) -> bool:
        return any(node.text.startswith(words) and "disabled" not in node.attrs for node in self.root.find("button"))

    def form_of(self, button: Node) -> Node:
        """The form that a button sends: the one it names, or the one around it."""
        named = button.attrs.get("form")
        form = button.form if named is None else next(f for f in self.root.find("form") if f.attrs.get("id") == named)
        assert form is not None, f"the button {button.text!r} of {self.url} sends no form"
        return form

    def fields(self, form: Node) -> list[tuple[str, str]]:
        """What a browser would send of a form that nobody has touched."""
        sent = []
        for node in form.all():
            name, kind = node.attrs.get("name", ""), node.attrs.get("type", "text")
            if not name or "disabled" in node.attrs:
                continue
            if node.tag == "input" and kind in ("checkbox", "radio"):
                if "checked" in node.attrs:
                    sent.append((name, node.attrs.get("value", "on")))
            elif node.tag == "input" and kind != "submit":
                sent.append((name, node.attrs.get("value", "")))
            elif node.tag == "textarea":
                sent.append((name, "".join(str(part) for part in node.parts).removeprefix("\n")))
            elif node.tag == "select":
                options = node.find("option")
                chosen = [option for option in options if "selected" in option.attrs] or options[:1]
                sent += [(name, option.attrs.get("value", "")) for option in chosen]
        return sent


def parse(url: str, status: int, body: bytes) -> Page:
    tree = _Tree()
    tree.feed(body.decode())
    return Page(url, status, body, tree.root)


class Browser:
    """One person. Everything that came back is kept in ``seen`` until somebody has looked through it."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.seen: list[tuple[str, bytes]] = []
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(jar)
        self.page = Page("", 0, b"", Node("html", {}))

    def get(self, path: str) -> Page:
        return self._open(urllib.request.Request(urljoin(self.base, path)))

    stay = get
    """Without a script a page does not change by itself."""

    def close(self) -> None:
        """Nothing is open."""

    def follow(self, words: str) -> Page:
        return self.get(urljoin(self.page.url, self.page.link(words)))

    def press(self, words: str | Node, values: Mapping[str, str | Sequence[str]] | None = None) -> Page:
        """Fills ``values`` into the form of a button of this page, found by its words, and presses it.

        Fields must be there: what a person could not type into is not sent. A list stands for ticked boxes.
        """
        values = values or {}
        button = self.page.button(words, values) if isinstance(words, str) else words
        form = self.page.form_of(button)
        sent = [(name, value) for name, value in self.page.fields(form) if name not in values]
        for name, value in values.items():
            sent += [(name, value)] if isinstance(value, str) else [(name, each) for each in value]
        if button.attrs.get("name"):
            sent.append((button.attrs["name"], button.attrs.get("value", "")))
        where = button.attrs.get("formaction") or form.attrs.get("action") or self.page.url
        assert form.attrs.get("method") == "post", f"the form of {button.text!r} is not sent by POST"
        data = urllib.parse.urlencode(sent).encode()
        return self._open(urllib.request.Request(urljoin(self.page.url, where), data))

    def _open(self, request: urllib.request.Request) -> Page:
        try:
            with self._opener.open(request, timeout=20) as response:
                url, status, body, headers = response.url, response.status, response.read(), str(response.headers)
        except urllib.error.HTTPError as error:
            url, status, body, headers = error.url or "", error.code, error.read(), str(error.headers)
        assert status < 500, f"{url} answered {status}"
        self.page = parse(url, status, body)
        self.seen.append((url, headers.encode() + body))
        return self.page
