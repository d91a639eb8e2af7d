"""A snapshot on its way in, before its commit."""

from __future__ import annotations

from attrs import frozen

from checkpoint._codec import Codec
from checkpoint._delta import Deltas, Layout
from checkpoint._earlier import Earlier
from checkpoint._reuse import Known, Plan
from checkpoint._stream import StreamCutter
from checkpoint._workers import Workers
from checkpoint._writing import Encoder, Scratch
from checkpoint.store import Store


@frozen
class Draft:
    """Give the stream to `stream`, then commit the draft with the buffers.

    `before` is what the buffers are compared with.
    """

    name: str
    encoder: Encoder
    stream: StreamCutter
    workers: Workers
    plan: Plan
    before: Layout | None


def begun(
    name: str,
    codec: Codec,
    store: Store,
    known: Known,
    plan: Plan,
    workers: Workers,
    *,
    private: bool,
) -> Draft:
    """A draft that is compared with the newest snapshot of *name* that is known.

    *private* says that nobody else writes to the buffers.
    """
    before, earlier = None, None
    newest = known.newest(name)
    if newest is not None:
        manifest, table = newest
        before = Layout(manifest.parts, table)
        earlier = Earlier(store, known, manifest, table, before.stream)
    encoder = Encoder(codec, plan.reuse, Deltas(plan), None if private else Scratch(), private)
    return Draft(name, encoder, StreamCutter(encoder, workers, earlier), workers, plan, before)
