"""The clock: alarms at absolute times, in order of turn within an instant, beside SimPy's own events."""

from simulator.engine.clock import Alarm, Clock


def heard_of(clock, log, name):
    return lambda alarm: log.append((name, clock.now))


def test_alarms_of_one_instant_go_off_in_order_of_turn():
    clock, log = Clock(), []
    for turn in (3, 1, 2):
        clock.set(Alarm(clock, turn, heard_of(clock, log, turn)), 5.0)
    assert not clock.work(10)
    assert log == [(1, 5.0), (2, 5.0), (3, 5.0)]


def test_an_alarm_that_is_set_anew_goes_off_once_when_it_was_last_set_to():
    clock, log = Clock(), []
    alarm = Alarm(clock, 1, heard_of(clock, log, "it"))
    clock.set(alarm, 5.0)
    clock.set(alarm, 3.0)
    assert not clock.work(10)
    assert log == [("it", 3.0)]


def test_a_cancelled_alarm_passes_in_silence_and_can_be_set_again():
    clock, log = Clock(), []
    alarm = Alarm(clock, 1, heard_of(clock, log, "it"))
    clock.set(alarm, 3.0)
    clock.cancel(alarm)
    assert not clock.work(10)
    clock.set(alarm, 7.0)
    assert not clock.work(10)
    assert log == [("it", 7.0)]


def test_work_stops_after_so_many_events():
    clock, log = Clock(), []
    for when in (1.0, 2.0, 3.0):
        clock.set(Alarm(clock, 1, heard_of(clock, log, when)), when)
    assert clock.work(2)
    assert [name for name, _ in log] == [1.0, 2.0]


def test_processes_of_simpy_run_between_the_alarms():
    clock, log = Clock(), []

    def process():
        for _ in range(2):
            yield clock.timeout(2.0)
            log.append(("process", clock.now))

    clock.process(process())
    for when in (1.0, 3.0):
        clock.set(Alarm(clock, 1, heard_of(clock, log, "alarm")), when)
    assert not clock.work(20)
    assert log == [("alarm", 1.0), ("process", 2.0), ("alarm", 3.0), ("process", 4.0)]
