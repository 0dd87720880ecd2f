"""The block pool keeps its promises under any sequence of operations."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from hyprstream_core.engine.blocks import BlockPool, chain_hash, root_hash
from hyprstream_core.errors import InternalError

NUM_BLOCKS = 6


class PoolMachine(RuleBasedStateMachine):
    """Tables are lists of block ids; a model of who holds what is kept beside the pool."""

    tables = Bundle("tables")

    def __init__(self):
        super().__init__()
        self.pool = BlockPool(NUM_BLOCKS, 4)
        self.references = dict.fromkeys(range(NUM_BLOCKS), 0)
        self.sealed = {}

    @rule(target=tables, count=st.integers(1, 4))
    def allocate(self, count):
        free = self.references.values()
        num_free = sum(r == 0 for r in free)
        taken = []
        for _ in range(count):
            index = self.pool.allocate()
            if index is None:
                break
            assert self.references[index] == 0, "a block in use was handed out"
            self.references[index] = 1
            self.sealed = {h: b for h, b in self.sealed.items() if b != index}
            taken.append(index)
        assert len(taken) == min(count, num_free)
        return taken

    @rule(table=tables, salt=st.sampled_from(["a", "b"]), tokens=st.lists(st.integers(0, 1), min_size=4, max_size=4))
    def seal(self, table, salt, tokens):
        """Two tables often hold the same tokens: then the block that was sealed first is the one that is found."""
        parent = root_hash(salt)
        for index, token in zip(table, tokens, strict=False):
            if self.references[index] == 0:
                return
            parent = chain_hash(parent, [token] * 4)
            self.pool.seal(index, parent)
            if parent not in self.sealed and index not in self.sealed.values():
                self.sealed[parent] = index

    @rule(target=tables, data=st.data())
    def reuse(self, data):
        if not self.sealed:
            return []
        digest = data.draw(st.sampled_from(sorted(self.sealed)))
        found = self.pool.match([digest])
        assert found == [self.sealed[digest]]
        self.pool.acquire(found)
        self.references[found[0]] += 1
        return found

    @rule(table=consumes(tables))
    def release(self, table):
        self.pool.release(table)
        for index in table:
            self.references[index] -= 1

    @invariant()
    def is_consistent(self):
        self.pool.check_integrity()
        assert self.pool.num_free == sum(r == 0 for r in self.references.values())


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPool = PoolMachine.TestCase


def test_the_least_recently_released_content_is_forgotten_first():
    pool = BlockPool(3, 4)
    first, second, third = (pool.allocate() for _ in range(3))
    for index, name in ((first, b"1"), (second, b"2"), (third, b"3")):
        pool.seal(index, name)
    pool.release([second])
    pool.release([first])
    assert pool.allocate() == second
    assert pool.match([b"2"]) == []
    assert pool.match([b"1"]) == [first]


def test_the_end_of_a_table_is_evicted_before_its_start():
    pool = BlockPool(2, 4)
    table = [pool.allocate(), pool.allocate()]
    for index, name in zip(table, (b"1", b"2"), strict=True):
        pool.seal(index, name)
    pool.release(table)
    assert pool.allocate() == table[1]
    assert pool.match([b"1"]) == [table[0]]


def test_a_block_is_never_released_twice():
    pool = BlockPool(2, 4)
    index = pool.allocate()
    pool.release([index])
    with pytest.raises(InternalError, match="not in use"):
        pool.release([index])


def test_hashes_depend_on_every_token_before_and_on_the_salt():
    a = chain_hash(chain_hash(root_hash("t", "c"), [1, 2]), [3, 4])
    assert a == chain_hash(chain_hash(root_hash("t", "c"), [1, 2]), [3, 4])
    assert a != chain_hash(chain_hash(root_hash("t", "c"), [1, 9]), [3, 4])
    assert a != chain_hash(chain_hash(root_hash("u", "c"), [1, 2]), [3, 4])
    assert root_hash("ab", "c") != root_hash("a", "bc")


def test_corruption_is_noticed():
    pool = BlockPool(2, 4)
    pool.num_free += 1
    with pytest.raises(InternalError, match="free list"):
        pool.check_integrity()
