"""What a reward audit predicts of training, and whether it came true."""

from __future__ import annotations

from tasks.miniscenes import predictions


def test_truth_is_predicted_to_rise_only_where_a_lie_costs_more_than_a_fact_earns() -> None:
    prices = {-1.2: 1, -0.8: -1, 0.0: -1, 1.0: -1, None: -1}
    assert {price: predictions.predicted(price) for price in prices} == prices


def test_the_table_counts_the_predictions_that_came_true() -> None:
    cell = {"value": 90.0, "ci95": [1.0, 3.0]}
    rows = [
        {"reward": "clip", "price": -3.4, "predicted": 1, "difference": 2.0, **cell},
        {"reward": "grc", "price": None, "predicted": -1, "difference": 2.0, **cell},
    ]
    *table, last = predictions.lines(rows)
    assert last == "1 of 2 as predicted"
    assert table[2] == "| clip | -3.40 | rises | 90.0, +2.0 [1.0, 3.0] | as predicted |"
    assert table[3] == "| grc | none | falls | 90.0, +2.0 [1.0, 3.0] | other |"


def test_every_reward_of_the_project_is_an_arm() -> None:
    from harness import registry

    assert set(predictions.GALLERIES) == set(registry.names("rewards"))
