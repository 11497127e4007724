"""The statistics of side distributions equal those of sorted softmax values."""

import itertools

import pytest
import torch

from gfl_plugin.ops.top_probabilities import top_probabilities

CHOICES = [choice for choice in itertools.product([True, False], repeat=3) if any(choice)]


def _expected(logits, topk, values, mean, variance):
    """By sorting, one side after another, in fp64."""
    channels = []
    for side in logits.double().chunk(4, dim=1):
        largest = (side.exp() / side.exp().sum(dim=1, keepdim=True)).sort(dim=1, descending=True).values[:, :topk]
        if values:
            channels.append(largest)
        if mean:
            channels.append(largest.sum(dim=1, keepdim=True) / topk)
        if variance:
            channels.append(largest.var(dim=1, unbiased=False, keepdim=True))
    return torch.cat(channels, dim=1)


@pytest.mark.parametrize("values, mean, variance", CHOICES)
@pytest.mark.parametrize("topk", [1, 4, 9])
def test_equals_the_statistics_of_sorted_probabilities(values, mean, variance, topk):
    logits = 2 * torch.randn(2, 4 * 9, 3, 5)
    found = top_probabilities(logits, topk, values, mean, variance)
    torch.testing.assert_close(found, _expected(logits, topk, values, mean, variance).float())


def test_passes_a_finite_difference_check():
    logits = torch.randn(1, 4 * 6, 2, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: top_probabilities(x, 3, variance=True), (logits,))


def test_gradients_do_not_depend_on_a_constant_added_to_a_side():
    """Softmax does not: the gradient of each side therefore sums to zero."""
    logits = torch.randn(2, 4 * 17, 3, 3, requires_grad=True)
    found = top_probabilities(logits, 4)
    (found * torch.randn(found.shape)).sum().backward()
    sums = logits.grad.view(2, 4, 17, 3, 3).sum(dim=2)
    torch.testing.assert_close(sums, torch.zeros_like(sums), rtol=0, atol=1e-6)


def test_large_logits_give_exact_peaks():
    logits = torch.full((1, 4 * 5, 1, 1), -1e4)
    logits[0, ::5] = 1e4
    found = top_probabilities(logits.requires_grad_(), 2)
    found.sum().backward()
    assert found.view(4, 3).tolist() == [[1.0, 0.0, 0.5]] * 4
    assert not logits.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_fp32(dtype):
    logits = torch.randn(2, 4 * 17, 3, 3).to(dtype)
    found = top_probabilities(logits, 4)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, top_probabilities(logits.float(), 4), rtol=0, atol=0)


def test_reads_channels_last_logits():
    logits = torch.randn(2, 4 * 17, 3, 5)
    found = top_probabilities(logits.contiguous(memory_format=torch.channels_last), 4)
    torch.testing.assert_close(found, top_probabilities(logits, 4))


@pytest.mark.parametrize("topk", [0, 10, -1])
def test_an_impossible_k_is_refused(topk):
    with pytest.raises(ValueError, match=f"topk is {topk}; it must be from 1 to .* 9 here"):
        top_probabilities(torch.zeros(1, 4 * 9, 2, 2), topk)


def test_channels_that_are_not_four_sides_are_refused():
    with pytest.raises(ValueError, match="has 18 channels"):
        top_probabilities(torch.zeros(1, 18, 2, 2), 4)


def test_no_statistics_are_refused():
    with pytest.raises(ValueError, match="all False"):
        top_probabilities(torch.zeros(1, 4 * 9, 2, 2), 4, values=False, mean=False)
