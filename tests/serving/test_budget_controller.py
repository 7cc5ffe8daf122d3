import math
import random

import pytest

from foveate.serving.budget.controller import LADDER, LEAST_ROOM, Controller
from foveate.serving.budget.correction import Correction

WORKS = (200.0, 120.0, 80.0, 60.0, 50.0)


def test_without_a_target_all_is_kept():
    controller = Controller()
    for _ in range(20):
        ticket = controller.admit(WORKS, 0.0)
        assert (ticket.choice, ticket.held) == (0, None)
        assert controller.first_token(ticket, 1e6) is None
    assert controller.room == 1.0


def test_the_largest_that_meets_the_target_is_taken_queue_included():
    controller = Controller(300.0)
    chosen = [controller.admit(WORKS, 0.0) for _ in range(4)]
    # 200 fits; behind it 80 does (280); then 20 ms are left, which nothing fits
    assert [ticket.choice for ticket in chosen] == [0, 2, 4, 4]
    assert [ticket.ahead_ms for ticket in chosen] == [0.0, 200.0, 280.0, 330.0]
    assert [ticket.held for ticket in chosen] == [True, True, False, False]


def test_what_was_done_meanwhile_is_not_in_front():
    controller = Controller(300.0)
    controller.admit(WORKS, 0.0)
    ticket = controller.admit(WORKS, 150.0)
    assert ticket.ahead_ms == 50.0
    assert ticket.choice == 0
    late = controller.admit(WORKS, 5000.0)
    assert late.ahead_ms == 0.0


def test_where_a_smaller_share_is_slower_it_is_not_taken():
    controller = Controller(100.0)
    assert controller.admit((300.0, 200.0, 250.0), 0.0).choice == 1


def test_a_request_with_one_choice_is_counted():
    controller = Controller(300.0)
    controller.admit((250.0,), 0.0)
    assert controller.admit(WORKS, 0.0).choice == 4
    assert len(controller.in_flight) == 2


def test_in_flight_is_what_has_not_left():
    controller = Controller(300.0)
    first, second, third = (controller.admit(WORKS, 0.0) for _ in range(3))
    controller.first_token(first, 200.0)
    controller.leave(second, 210.0)  # cut off while it waits
    assert controller.in_flight == [first, third]
    controller.leave(first, 400.0)
    controller.leave(third, 400.0)
    assert not controller.in_flight
    assert controller.admit(WORKS, 400.0).ahead_ms == 0.0


def test_what_is_cut_off_is_in_front_of_nobody():
    controller = Controller(1000.0)
    first, second = (controller.admit(WORKS, 0.0) for _ in range(2))
    controller.leave(second, 100.0)
    assert controller.admit(WORKS, 100.0).ahead_ms == 100.0
    controller.leave(first, 150.0)
    assert controller.admit(WORKS, 150.0).ahead_ms == 200.0


def test_what_does_not_stream_is_served_when_it_was_predicted():
    controller = Controller(1000.0)
    controller.admit(WORKS, 0.0, streams=False)
    assert controller.admit(WORKS, 100.0).ahead_ms == 100.0
    third = controller.admit(WORKS, 250.0)
    assert third.ahead_ms == 150.0
    assert controller.correction.seen == 0


def test_room_falls_where_targets_are_missed_and_comes_back():
    controller = Controller(300.0)
    for number in range(100):
        ticket = controller.admit(WORKS, 1e5 * number)
        assert controller.first_token(ticket, 1e5 * number + 301) is False
        controller.leave(ticket, 1e5 * number + 302)
    assert LEAST_ROOM <= controller.room < 0.3
    low = controller.room
    controller.correction = Correction()
    for number in range(3000):
        now = 1e8 + 1e5 * number
        ticket = controller.admit(WORKS, now)
        controller.first_token(ticket, now + ticket.work_ms)
        controller.leave(ticket, now + 300)
    assert controller.room > 2 * low


def test_room_does_not_move_for_what_no_choice_can_hold():
    controller = Controller(10.0)
    for number in range(50):
        ticket = controller.admit(WORKS, 1e5 * number)
        assert ticket.held is False
        controller.first_token(ticket, 1e5 * number + ticket.work_ms)
        controller.leave(ticket, 1e5 * number + 300)
    assert controller.room == 1.0


def test_room_settles_where_one_of_twenty_misses():
    """If a request misses whenever it is predicted above half of the target, room comes near there."""
    controller, rng = Controller(1000.0), random.Random(0)
    missed = []
    for number in range(6000):
        now, work = 1e6 * number, rng.uniform(100, 1000)
        ticket = controller.admit((work, work / 2, work / 4), now)
        spread = math.exp(rng.gauss(0, 0.4))
        held = controller.first_token(ticket, now + ticket.work_ms * spread)
        controller.leave(ticket, now + 1e5)
        if ticket.choice or not held:
            missed.append(not held)
    assert 0.02 < sum(missed[-2000:]) / 2000 < 0.08


@pytest.mark.parametrize(
    ("ahead", "own", "fixed"),
    [(1.0, 1.0, 0.0), (2.5, 2.5, 5.0), (0.1, 30.0, 50.0), (4.0, 1.0, 20.0)],
)
def test_the_correction_finds_the_law(ahead, own, fixed):
    known, rng = Correction(), random.Random(1)
    errors = []
    for number in range(600):
        front, mine = rng.choice([0.0, rng.uniform(0, 500)]), rng.choice(WORKS)
        law = ahead * front + own * mine + fixed
        if number >= 400:
            errors.append(abs(known.predict(front, mine) / law - 1))
        known.learn(front, mine, law * math.exp(rng.gauss(0, 0.1)))
    assert sum(errors) / len(errors) < 0.1


def test_the_first_measured_time_sets_the_scale():
    known = Correction()
    known.learn(0.0, 100.0, 5000.0)
    assert known.predict(0.0, 100.0) == pytest.approx(5000.0)
    assert known.predict(100.0, 100.0) == pytest.approx(10_000.0)


def test_one_strange_time_does_not_turn_it_round():
    known = Correction()
    for _ in range(100):
        known.learn(0.0, 100.0, 100.0)
    known.learn(0.0, 100.0, 1e9)
    assert known.predict(0.0, 100.0) < 130
    known.learn(0.0, 100.0, 0.0)
    known.learn(0.0, 0.0, 5.0)
    assert known.seen == 101


def test_the_ladder_falls():
    assert LADDER[0] == 1.0
    assert list(LADDER) == sorted(LADDER, reverse=True)
