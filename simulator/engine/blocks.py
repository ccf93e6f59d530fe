"""KV blocks where nothing is shared: counting them is enough."""

from __future__ import annotations

from simulator.engine.request import Request


class Blocks:
    """The KV blocks of a replica, `free` of them in nobody's hands.

    A request holds the blocks of the tokens it has computed or is computing in this step, the last one perhaps partly filled.
    `shared`: whether requests may have some of their tokens cached.
    """

    shared: bool = False

    __slots__ = ("block_size", "free", "total",)

    def __init__(self, total: int, block_size: int) -> None:
        self.total = self.free = total
        self.block_size = block_size

    def cached_tokens(self, request: Request) -> int:
        """Tokens of a waiting request that need not be computed: none here."""
        return 0

    def admit(self, request: Request, tokens: int, reserved: int, spare: int) -> bool:
        """Take the blocks of a waiting request's first `tokens`, if they are free, and so are `spare` more.

        Where more than these, `reserved` tokens, must find room, that too is asked; but their blocks are not taken.
        """
        needed = -(-tokens // self.block_size)
        if max(needed, -(-reserved // self.block_size)) + spare > self.free:
            return False
        self.free -= needed
        return True

    def needed(self, request: Request, tokens: int) -> int:
        """Blocks a prefilling request lacks to compute `tokens` more."""
        size = self.block_size
        return -(-(request.computed + tokens) // size) + -request.computed // size

    def reuse(self, blocks: int) -> None:
        """Forget what was in the free blocks that running requests have just taken."""

    def prefilled(self, request: Request, tokens: int) -> None:
        """Note that the blocks of a request's next `tokens` prompt tokens are about to be filled."""

    def release(self, request: Request) -> None:
        """Give back all blocks of a request."""
        self.free += -(-request.computed // self.block_size)
