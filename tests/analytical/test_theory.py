"""Closed forms against each other, and against cases worked by hand."""

import pytest
from analytical.theory import (
    birth_death_mean,
    closed_loop_rate,
    erlang_c,
    little,
    md1_wait,
    mg1_lifo_wait_square,
    mg1_wait,
    mg1_wait_square,
    mginf_mean,
    mmc_wait,
    poisson_pmf,
    priority_waits,
    ps_response,
    repairman_rate,
    utilization,
)

from simulator.errors import Unstable


@pytest.mark.parametrize(
    "steady",
    [
        lambda: utilization(2.0, 1.0, servers=2),
        lambda: mg1_wait(1.0, 1.0, scv=1.0),
        lambda: mg1_wait_square(1.5, 1.0, scv=0.0, third=1.0),
        lambda: erlang_c(3.0, 1.0, servers=3),
        lambda: mmc_wait(4.0, 1.0, servers=3),
        lambda: ps_response(1.0, 1.0, own_service_s=0.1),
        lambda: priority_waits([(0.5, 1.0, 0.0), (0.6, 1.0, 0.0)]),
        lambda: birth_death_mean(2.0, [1.0, 2.0]),
    ],
)
def test_a_load_of_one_or_more_has_no_steady_state(steady):
    with pytest.raises(Unstable, match="grows without bound"):
        steady()


def test_the_error_says_rate_service_servers_and_load():
    with pytest.raises(Unstable, match=r"5 requests/s of 0.5 s load 2 servers to 125%"):
        utilization(5.0, 0.5, servers=2)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.95])
def test_one_server_of_m_m_c_is_m_m_1_and_m_d_1_waits_half_as_long(load):
    assert erlang_c(load, 1.0, 1) == pytest.approx(load)
    assert mmc_wait(load, 1.0, 1) == pytest.approx(mg1_wait(load, 1.0, scv=1.0)) == pytest.approx(load / (1 - load))
    assert md1_wait(load, 1.0) == pytest.approx(mg1_wait(load, 1.0, scv=1.0) / 2)


def test_erlang_c_as_worked_by_hand():
    """Two erlangs on three servers: (2^3 / 3! * 3) / (1 + 2 + 2 + 2^3 / 3! * 3) = 4 / 9; on four 4 / 23."""
    assert erlang_c(2.0, 1.0, 3) == pytest.approx(4 / 9)
    assert erlang_c(2.0, 1.0, 4) == pytest.approx(4 / 23)


def test_the_mean_square_of_the_wait_in_m_m_1_follows_from_its_distribution():
    """A wait is 0, or with a chance of the load exponential at (1 - load) / service: 2 * load * (service / (1 - load))^2."""
    assert mg1_wait_square(0.4, 2.0, scv=1.0, third=6.0) == pytest.approx(2 * 0.8 * (2.0 / 0.2) ** 2)


def test_last_come_first_served_spreads_waits_more_the_higher_the_load():
    ratios = [mg1_lifo_wait_square(load, 1.0, 0.0, 1.0) / mg1_wait_square(load, 1.0, 0.0, 1.0) for load in (0.1, 0.5, 0.9)]
    assert ratios == pytest.approx([1 / 0.9, 2.0, 10.0])


def test_priorities_only_move_waits_between_the_classes():
    """Kleinrock's conservation law: waits weighted by load sum to the same as without priorities, in either order."""
    chat, batch = (0.3, 0.5, 0.0), (0.15, 3.0, 1.0)
    work_found = (0.3 * 0.5**2 + 0.15 * 3.0**2 * 2) / 2
    together = 0.6 * work_found / (1 - 0.6)
    for first, second in ((chat, batch), (batch, chat)):
        waits = priority_waits([first, second])
        assert waits[0] < waits[1]
        assert first[0] * first[1] * waits[0] + second[0] * second[1] * waits[1] == pytest.approx(together)


def test_a_single_class_with_a_priority_is_m_g_1():
    assert priority_waits([(0.5, 1.2, 0.7)]) == pytest.approx([mg1_wait(0.5, 1.2, scv=0.7)])


def test_numbers_inside_sum_to_one_and_have_the_mean_of_m_g_inf():
    chances = [poisson_pmf(mginf_mean(3.0, 2.0), n) for n in range(100)]
    assert sum(chances) == pytest.approx(1.0)
    assert sum(n * chance for n, chance in enumerate(chances)) == pytest.approx(6.0)


def test_nobody_is_inside_where_nobody_is_expected():
    assert [poisson_pmf(0.0, n) for n in range(3)] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(("servers", "rate"), [(1, 0.7), (3, 2.5), (8, 7.6)])
def test_m_m_c_is_a_birth_death_chain(servers, rate):
    chain = birth_death_mean(rate, [float(n) for n in range(1, servers + 1)])
    assert chain == pytest.approx(little(rate, mmc_wait(rate, 1.0, servers) + 1.0))


def test_processor_sharing_and_servers_without_end_are_birth_death_chains():
    assert birth_death_mean(0.8, [1.0] * 5) == pytest.approx(little(0.8, ps_response(0.8, 1.0, 1.0)))
    assert birth_death_mean(6.0, [float(n) for n in range(1, 200)]) == pytest.approx(mginf_mean(6.0, 1.0))


def test_a_request_stays_in_a_shared_processor_in_proportion_to_its_own_service():
    assert [ps_response(0.5, 1.2, own) for own in (0.1, 1.0)] == pytest.approx([0.25, 2.5])


def test_users_who_never_meet_are_served_at_once_and_many_users_saturate_the_server():
    assert repairman_rate(1, 0.5, 1.5) == pytest.approx(closed_loop_rate(1, 0.5, 1.5)) == pytest.approx(0.5)
    assert repairman_rate(200, 0.5, 1.5) == pytest.approx(2.0)
    assert repairman_rate(3, 0.5, 0.0) == pytest.approx(2.0)


def test_two_users_at_one_server_as_worked_by_hand():
    """Service 1, think 1. States 0, 1, 2 inside weigh 1, 2, 2: the server is busy 4 / 5 of the time."""
    assert repairman_rate(2, 1.0, 1.0) == pytest.approx(0.8)
