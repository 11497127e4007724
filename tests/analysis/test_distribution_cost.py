"""The two heads whose times are compared: they may differ in their sides only."""

import pytest
import torch

from gfl_plugin.analysis.benchmark.distribution_cost import distribution_cost, heads_and_features


def test_heads_have_equal_scores_and_the_requested_number_above_the_threshold():
    (dirac, general), features = heads_and_features(size=128, classes=5, above=40)
    with torch.no_grad():
        scores = [head(features)[0] for head in (dirac, general)]
    for ours, theirs in zip(*scores):
        assert torch.equal(ours, theirs)
    assert sum(int((level.sigmoid() >= dirac.test_cfg.score_thr).sum()) for level in scores[0]) == 40


def test_heads_differ_in_the_last_box_convolution_only():
    dirac, general = (head.state_dict() for head in heads_and_features(size=128, classes=5, above=40)[0])
    assert dirac["gfl_reg.weight"].shape[0] == 4 and general["gfl_reg.weight"].shape[0] == 4 * 17
    shared = {name for name in general if not name.startswith(("gfl_reg.", "integral."))}
    assert shared == {name for name in dirac if not name.startswith("gfl_reg.")}
    assert all(torch.equal(dirac[name], general[name]) for name in shared)


def test_ratios_are_those_of_the_times():
    for cost in distribution_cost(size=128, classes=2, above=10, runs=7):
        assert cost.first > 0 and cost.low <= cost.ratio <= cost.high, cost


@pytest.mark.parametrize(("given", "message"), [({"size": 100}, "multiple of 128"), ({"above": 10**6}, "only")])
def test_wrong_sizes_are_errors(given, message):
    with pytest.raises(ValueError, match=message):
        distribution_cost(**{"size": 128, "classes": 2, "above": 10, "runs": 7, **given})
