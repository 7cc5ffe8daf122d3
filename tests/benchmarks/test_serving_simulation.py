import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import serving_simulation as simulation
from serving_engine import Engine, Kind, Sent, serve
from serving_law import Law, fit_prefill, law_of_first_tokens, law_of_load

from foveate.serving.budget.controller import Controller

PLAIN = Law(10.0, 5.0, 0.0, 0.1, 20.0, "made up")
KIND = Kind("one", 1.0, 2.0, (1000, 500, 250, 125, 62), (100.0, 50.0, 25.0, 12.0, 6.0))


def sent(*times, answer=1):
    return [Sent(KIND, time, answer, True) for time in times]


def engine(**knobs):
    return Engine(PLAIN, np.random.default_rng(0), noise=0.0, **knobs)


def test_a_request_alone_takes_what_the_law_says():
    (one,) = requests = sent(5.0, answer=3)
    serve(requests, [engine()], [0])
    assert one.first_ms == pytest.approx(10 + 2 * 5 + 100)
    assert one.first_ms == PLAIN.alone_ms(2, 1000)
    assert one.end_ms == pytest.approx(5 + 120 + 2 * 20)


def test_requests_that_wait_share_a_step_and_speak_meanwhile():
    requests = sent(0.0, 1.0, 2.0, answer=2)
    serve(requests, [engine()], [0])
    first, second, third = requests
    # the second and third share the step behind the first's, which says its second token in it
    assert second.first_ms == pytest.approx(10 + 110 - 1 + 20 + 200.1)
    assert third.first_ms == second.first_ms - 1
    assert first.end_ms == pytest.approx(second.at_ms + second.first_ms)


def test_a_long_prompt_takes_several_steps():
    long = Kind("long", 1.0, 0.0, (20_000,), (1.0,))
    requests = [Sent(long, 0.0, 1, True)]
    one = engine()
    serve(requests, [one], [0])
    assert requests[0].first_ms == pytest.approx(10 + 2000)
    assert one.steps == 3


def test_less_is_served_sooner_and_two_engines_share():
    held = {}
    for choice, engines in ((0, 1), (4, 1), (0, 2)):
        requests = sent(*[10.0 * n for n in range(20)])
        serve(requests, [engine() for _ in range(engines)], [choice])
        held[choice, engines] = np.mean([one.first_ms for one in requests])
    assert held[4, 1] < held[0, 2] < held[0, 1]


def test_the_controller_holds_where_no_choice_would_not():
    requests = [sent(*[70.0 * n for n in range(300)]) for _ in range(2)]
    controller = Controller(400.0)
    serve(requests[0], [engine()], [0])
    serve(requests[1], [engine()], [controller])
    late, held = (np.percentile([one.first_ms for one in sent[40:]], 95) for sent in requests)
    assert late > 2000
    assert held < 440
    assert controller.correction.seen == 300
    assert not controller.in_flight
    assert {one.choice for one in requests[1]} > {0}


def test_the_law_of_the_gpu_is_near_what_was_measured():
    law = law_of_first_tokens()
    assert law.alone_ms(32, 6273) == pytest.approx(294.6, rel=0.1)
    assert law.alone_ms(8, 1569) == pytest.approx(90.8, rel=0.1)


def test_laws_are_found_again():
    tokens = [100.0, 400.0, 1500.0, 3000.0, 6000.0]
    launch, token = fit_prefill(tokens, [max(40.0, 0.03 * n) for n in tokens])
    assert (launch, token) == (pytest.approx(40.0), pytest.approx(0.03))
    rows = [{"pictures": shown, "tokens": n, "first_token_ms": 30 + 7 * shown + 0.4 * n}
            for shown in (1, 2) for n in (100, 400, 900)]  # fmt: skip
    law = law_of_load(rows)
    assert law.alone_ms(3, 500) == pytest.approx(30 + 21 + 200)


def test_one_setting_of_the_simulation():
    setting = {"gpus": 2, "engines": 1, "processes": 1, "pattern": "chance", "load": 1.3,
               "drift": False, "requests": 150, "seed": 0, "slower": lambda ms: 1.0}  # fmt: skip
    row = simulation.simulate(setting, simulation.kinds(), law_of_first_tokens(), 600.0)
    assert row["feasible"]
    assert row["p95_is_held"]
    assert row["runs"]["unreduced"]["p95_ms"] > 2 * row["runs"]["held"]["p95_ms"]
    assert row["requests_a_second_to_unreduced"] > 1
    assert 0.2 < row["runs"]["held"]["mean_keep"] < 1
    assert row["honesty"]["yes_was_held"] > 0.9
    assert sum(row["runs"]["held"]["shares"].values()) == pytest.approx(1)
    assert "held" in simulation.line(row)


def test_patterns_have_the_mean_of_one():
    for pattern in simulation.PATTERNS.values():
        assert np.mean([pattern(ms) for ms in range(0, 60_000, 10)]) == pytest.approx(1, abs=0.01)


def test_the_mix_is_a_whole():
    mix = simulation.kinds()
    assert sum(kind.share for kind in mix) == pytest.approx(1)
    assert [round(kind.views) for kind in mix] == [2, 5, 7, 16, 2]
