"""The learning rate of all training is one function of the step."""

from __future__ import annotations

import pytest

from common.schedule import cosine_rate, rate


@pytest.mark.parametrize("floor", [0.01, 0.05])
def test_the_rate_warms_up_and_falls_by_half_a_cosine(floor):
    rates = [cosine_rate(step, steps=20, warmup=4, floor=floor) for step in range(22)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[12] == pytest.approx((1 + floor) / 2)
    assert rates[20] == rates[21] == pytest.approx(floor)


def test_without_warm_up_the_first_step_has_the_peak():
    assert cosine_rate(0, steps=10, warmup=0, floor=0.01) == 1
    assert cosine_rate(3, steps=3, warmup=3, floor=0.01) == 1, "nothing is left to fall over"


def test_a_constant_rate_has_no_warm_up_and_no_end():
    assert {rate("constant", step, steps=10, warmup=4, floor=0.01) for step in range(12)} == {1.0}
    assert rate("cosine", 1, 10, 4, 0.01) == cosine_rate(1, 10, 4, 0.01)
