"""The scheduler under random arrivals, cancellations and memory pressure."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyprstream_core.engine.blocks import BlockPool
from hyprstream_core.engine.scheduler import Scheduler
from hyprstream_core.engine.sequence import Sequence, Status
from hyprstream_core.errors import Overloaded
from hyprstream_core.interfaces.inference import SamplingParams

BLOCK = 4


def sequence(name, prompt, max_tokens=4, stop_ids=(), **params):
    return Sequence(name, prompt, SamplingParams(max_tokens, **params), seed=0, stop_ids=frozenset(stop_ids))


def make(num_blocks=16, **options):
    pool = BlockPool(num_blocks, BLOCK)
    return Scheduler(pool, **{"max_running": 8, "max_waiting": 64, "token_budget": 8, **options})


def run(scheduler, token=lambda s: 100 + s.num_tokens, limit=2000):
    """Drive to the end with made-up tokens; returns the sizes of all steps."""
    sizes = []
    while scheduler.has_work:
        plan = scheduler.schedule()
        assert plan, "there is work, but nothing is scheduled"
        sizes.append(sum(e.num_tokens for e in plan))
        scheduler.commit(plan, [token(e.sequence) for e in plan if e.samples])
        scheduler.pool.check_integrity()
        assert len(sizes) < limit
    return sizes


def token_of(s):
    """A made-up token that says whose it is, and which."""
    return 1000 * (int(s.request_id) + 1) + s.num_output


@settings(max_examples=150, deadline=None)
@given(
    requests=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12), st.integers(0, 12)), min_size=1, max_size=12),
    num_blocks=st.integers(11, 24),
    budget=st.integers(1, 20),
    max_running=st.integers(1, 5),
    cancelled=st.sets(st.integers(0, 11)),
)
def test_every_request_ends_with_its_own_tokens_and_all_blocks_return(
    requests, num_blocks, budget, max_running, cancelled
):
    scheduler = make(num_blocks, token_budget=budget, max_running=max_running)
    sequences = []
    for i, (length, max_tokens, arrival) in enumerate(requests):
        sequences.append((arrival, sequence(str(i), [i] * length, max_tokens)))
    step = 0
    while scheduler.has_work or any(a >= step for a, _ in sequences):
        for i, (arrival, s) in enumerate(sequences):
            if arrival == step:
                scheduler.add(s)
            if i in cancelled and arrival + 2 == step:
                scheduler.cancel(s)
        plan = scheduler.schedule()
        assert sum(e.num_tokens for e in plan) <= max(budget, max_running)
        assert len(scheduler.running) <= max_running
        held = [b for s in scheduler.running for b in s.blocks]
        assert all(len(s.blocks) * BLOCK >= s.num_computed for s in scheduler.running)
        assert scheduler.pool.num_free == num_blocks - len(set(held))
        scheduler.commit(plan, [token_of(e.sequence) for e in plan if e.samples])
        scheduler.pool.check_integrity()
        step += 1
        assert step < 3000
    for i, (_, s) in enumerate(sequences):
        assert s.status is Status.FINISHED
        answer = s.tokens[s.num_prompt :]
        assert answer == [1000 * (i + 1) + k for k in range(len(answer))], "a token went to another sequence"
        if i not in cancelled:
            assert (s.finish_reason, len(answer)) == ("length", s.params.max_tokens)
    assert scheduler.pool.num_free == num_blocks


def test_sixteen_streams_share_forward_passes():
    scheduler = make(64, max_running=16, token_budget=64)
    for i in range(16):
        scheduler.add(sequence(str(i), [i + 1], max_tokens=10))
    assert len(run(scheduler)) == 10


def test_long_prompts_are_cut_into_chunks_while_others_keep_decoding():
    scheduler = make(32, token_budget=8)
    scheduler.add(sequence("short", [1, 2], max_tokens=12))
    plan = scheduler.schedule()
    scheduler.commit(plan, [7])
    scheduler.add(sequence("long", list(range(40)), max_tokens=1))
    for _ in range(3):
        plan = scheduler.schedule()
        assert [(e.sequence.request_id, e.num_tokens, e.samples) for e in plan] == [
            ("short", 1, True),
            ("long", 7, False),
        ]
        scheduler.commit(plan, [7])


def test_a_repeated_prefix_is_not_computed_again():
    scheduler = make(32, token_budget=64)
    prompt = list(range(18))
    scheduler.add(sequence("a", prompt))
    assert run(scheduler)[0] == 18
    again = sequence("b", prompt)
    scheduler.add(again)
    assert run(scheduler)[0] == 2
    assert again.num_cached == 16


def test_a_fully_cached_prompt_still_computes_its_last_token():
    scheduler = make(32, token_budget=64)
    prompt = list(range(16))
    for name in "ab":
        scheduler.add(sequence(name, prompt))
        sizes = run(scheduler)
    assert sizes[0] == 4


def test_another_salt_shares_nothing():
    scheduler = make(32, token_budget=64)
    for salt in (b"one", b"two"):
        s = Sequence("x", list(range(16)), SamplingParams(2), seed=0, salt=salt)
        scheduler.add(s)
        assert run(scheduler)[0] == 16


def test_the_newest_is_preempted_and_finishes_later():
    scheduler = make(6, token_budget=16)
    old, new = sequence("old", [1] * 8, max_tokens=12), sequence("new", [2] * 8, max_tokens=12)
    scheduler.add(old)
    scheduler.add(new)
    run(scheduler)
    assert scheduler.num_preemptions >= 1
    assert old.num_output == new.num_output == 12


def test_a_full_queue_refuses():
    scheduler = make(max_waiting=1)
    scheduler.add(sequence("a", [1]))
    with pytest.raises(Overloaded):
        scheduler.add(sequence("b", [1]))


def test_stop_ids_end_the_answer_and_are_not_part_of_it():
    s = sequence("x", [1], max_tokens=9, stop_ids={5})
    s.append(4)
    s.append(5)
    assert (s.tokens, s.finish_reason) == ([1, 4], "stop")


def test_cancelling_frees_blocks_at_once_whatever_the_state():
    scheduler = make(8, max_running=1)
    running, waiting = sequence("r", [1] * 9), sequence("w", [2] * 9)
    scheduler.add(running)
    scheduler.add(waiting)
    scheduler.schedule()
    assert scheduler.pool.num_free < 8
    for s in (running, waiting, running):
        scheduler.cancel(s)
    assert scheduler.pool.num_free == 8
    assert not scheduler.has_work


def test_every_running_answer_gets_a_token_each_step_even_with_a_small_budget():
    scheduler = make(64, token_budget=2, max_running=6)
    for i in range(6):
        scheduler.add(sequence(str(i), [i + 1], max_tokens=20))
    while len(scheduler.running) < 6:
        plan = scheduler.schedule()
        scheduler.commit(plan, [7 for e in plan if e.samples])
    plan = scheduler.schedule()
    assert sorted(e.sequence.request_id for e in plan) == list("012345")


def test_blocks_that_a_preempted_prompt_finds_again_are_not_counted_as_cached():
    scheduler = make(6, token_budget=8)
    old, new = sequence("old", [1] * 4, max_tokens=16), sequence("new", [2] * 18, max_tokens=2)
    scheduler.add(old)
    scheduler.add(new)
    run(scheduler)
    assert scheduler.num_preemptions >= 1
    assert new.num_cached == 0
