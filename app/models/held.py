"""The conversations that a language model holds in memory, for all visitors together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING
from weakref import ReferenceType, ref

from app.analysis import Session

if TYPE_CHECKING:
    from llm.conversation import Conversation
    from llm.serving.conversation import RemoteConversation

MOST_BYTES = 1 << 30


class HeldConversations:
    """Puts away the conversations unused longest where all together take more than `most_bytes`.

    A conversation that was put away is begun anew, with what was said in it, when it is asked for again.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._used: OrderedDict[tuple[int, int], ReferenceType[Session]] = OrderedDict()  # oldest first
        self._lock = Lock()

    def of(
        self, session: Session, face: int, begin: Callable[[], Conversation | RemoteConversation]
    ) -> Conversation | RemoteConversation:
        """The conversation about a face, begun where there is none."""
        conversation = session.conversations.get(face) or begin()
        session.conversations[face] = conversation
        key = id(session), face
        with self._lock:
            self._used[key] = ref(session)
            self._used.move_to_end(key)
            self._put_away()
        return conversation

    def _put_away(self) -> None:
        sizes = {key: _num_bytes(session(), key[1]) for key, session in self._used.items()}
        total = sum(sizes.values())
        for key, size in list(sizes.items())[:-1]:  # never the one just used
            if size and total <= self.most_bytes:
                continue
            session = self._used.pop(key)()
            if size and session is not None:
                session.conversations.pop(key[1], None)
            total -= size


def _num_bytes(session: Session | None, face: int) -> int:
    held = None if session is None else session.conversations.get(face)
    return 0 if held is None else held.num_bytes
