"""A page of a report as a list of its elements; fails on a tag that is closed out of turn."""

from html.parser import HTMLParser

VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})
Attributes = dict[str, str | None]


class Page(HTMLParser):
    """Elements in order as (tag, attributes), the text of each paragraph and item, and the tags left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, Attributes]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("p", "li"):
            self.texts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"p", "li"} & {*self.open}:
            self.texts[-1] += data

    def all(self, tag: str) -> list[Attributes]:
        return [attributes for name, attributes in self.elements if name == tag]

    def values(self, *keys: str) -> list[str]:
        """The values of some attributes, in the order of the elements."""
        return [own[key] or "" for _, own in self.elements for key in keys if key in own]
