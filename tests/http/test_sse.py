"""Server-Sent Events from bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._core.http.sse import SseParser


def read(*chunks: bytes) -> list[tuple[str, str]]:
    reader = SseParser()
    events = [event for chunk in chunks for event in reader.feed(chunk)]
    return events + list(reader.finish())


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"", []),
        (b"data: a\n\n", [("message", "a")]),
        (b"data:a\r\rdata: b\r\r", [("message", "a"), ("message", "b")]),
        (b"event: done\n\n", [("done", "")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("message", "a")]),
        (b"data\ndata: b\nid: 1\nretry: 5\n: c\n\n", [("message", "\nb")]),
        (b"\n\n\r\n\r", []),
        (b"data: \xff\n\n", [("message", "\ufffd")]),
        (b"event: x\ndata: {}", [("x", "{}")]),
    ],
)
def test_events(body: bytes, events: list[tuple[str, str]]) -> None:
    assert read(body) == events
    assert read(*(body[at : at + 1] for at in range(len(body)))) == events


@given(st.lists(st.sampled_from([b"data: a", b"event: e", b"\r", b"\n", b"\r\n", b"x"])), st.data())
def test_the_cuts_do_not_matter(parts: list[bytes], data: st.DataObject) -> None:
    body = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=5)))
    ends = zip([0, *cuts], [*cuts, len(body)], strict=True)
    assert read(*(body[a:b] for a, b in ends)) == read(body)


def test_the_unfinished_event_is_counted() -> None:
    reader = SseParser()
    assert list(reader.feed(b"data: a\n\ndata: bbbb")) == [("message", "a")]
    assert reader.pending == 10
