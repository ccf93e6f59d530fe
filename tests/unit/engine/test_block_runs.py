"""A run of KV blocks that several requests hold, each from a block of its own on."""

from simulator.engine.kv.block_runs import BlockRun
from simulator.engine.kv.prefix_tree import Branch


def held_by(*lows: int, end: int = 10) -> BlockRun:
    run = BlockRun(Branch((), end), min(lows), end)
    for low in sorted(lows):
        run.hold(low)
    return run


def test_a_block_is_held_by_those_who_hold_the_run_from_it_or_from_one_before_on() -> None:
    run = held_by(2, 2, 5, 8)
    assert [run.users_of(block) for block in (2, 4, 5, 7, 8, 9)] == [2, 2, 3, 3, 4, 4]


def test_the_front_is_free_once_the_last_window_has_left_it() -> None:
    run = held_by(2, 2, 5)
    assert run.move_on(2, 4) == 2
    assert run.move_on(2, 6) == 4
    assert (run.users, run.users_of(4), run.users_of(6)) == (3, 1, 3)


def test_who_leaves_the_whole_run_is_no_user_any_more() -> None:
    run = held_by(2, 5)
    assert run.move_on(2, 12) == 5
    assert run.users == 1
    run.first = 5
    assert run.move_on(5, 10) == 10
    assert run.users == 0


def test_a_run_reaches_back_for_the_one_who_takes_what_lies_before_it() -> None:
    run = held_by(4, 4)
    run.reach_back(1)
    assert (run.first, run.users) == (1, 2)
    assert [run.users_of(block) for block in (1, 3, 4)] == [1, 1, 2]


def test_a_run_cut_in_two_leaves_each_part_its_users() -> None:
    run = held_by(2, 4, 7)
    rear = BlockRun(run.branch, 6, 10, run.users)
    run.end = 6
    run.share_lows(rear)
    assert (run.users, rear.users) == (2, 3)
    assert (rear.users_of(6), rear.users_of(7)) == (2, 3)
