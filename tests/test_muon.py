import numpy as np
import pytest
import torch

from perceivers.training.muon import Muon, orthogonal

SHAPES = [(7, 5), (5, 7), (5, 5), (13, 7), (5, 7), (17, 2)]


def two_copies():
    torch.manual_seed(3)
    first = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    return first, [torch.nn.Parameter(p.detach().clone()) for p in first]


def test_steps_are_torch_s():
    ours, theirs = two_copies()
    muon = Muon(ours, lr=0.01, weight_decay=0.1, dtype=torch.bfloat16)
    reference = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape)
            q.grad = p.grad.clone()
        muon.step()
        reference.step()
    for p, q, start in zip(ours, theirs, two_copies()[0], strict=True):
        assert (p - start).abs().max() > 1e-3
        torch.testing.assert_close(p, q, rtol=0, atol=2e-4)  # an update is 0.02 an entry; bfloat16 has 8 bits of it


def test_filters_are_a_matrix_of_one_row_each():
    torch.manual_seed(3)
    filters = torch.nn.Parameter(torch.randn(6, 4, 3, 3))
    matrix = torch.nn.Parameter(filters.detach().flatten(1).clone())
    for p in (filters, matrix):
        p.grad = torch.randn(6, 36, generator=torch.Generator().manual_seed(1)).view(p.shape)
        Muon([p], lr=0.01, weight_decay=0.1, dtype=torch.float32).step()
    torch.testing.assert_close(filters.flatten(1), matrix, rtol=0, atol=0)


def test_a_matrix_without_a_gradient_stays():
    ours, start = two_copies()
    ours[0].grad = torch.ones_like(ours[0])
    Muon(ours, lr=0.01, weight_decay=0.1, dtype=torch.float32).step()
    assert not torch.equal(ours[0], start[0])
    assert all(torch.equal(p, q) for p, q in zip(ours[1:], start[1:], strict=True))


@pytest.mark.parametrize("shape", [(3, 5, 11), (2, 7, 19)])
def test_singular_values_come_near_one_and_vectors_stay(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    found = orthogonal(matrices).numpy()
    u, _, vt = np.linalg.svd(matrices.numpy(), full_matrices=False)
    inside = u.swapaxes(1, 2) @ found @ vt.swapaxes(1, 2)
    diagonal = np.diagonal(inside, axis1=1, axis2=2)
    assert np.abs(inside - diagonal[:, :, None] * np.eye(shape[1])).max() < 1e-4
    assert diagonal.min() > 0.3
    assert diagonal.max() < 1.3
