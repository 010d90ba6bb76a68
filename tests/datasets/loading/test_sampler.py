"""Test the order of training images."""

from itertools import chain, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_tasks.datasets.loading.sampler import ImageStream, Key

SIZES = st.integers(1, 20)


def keys(stream: ImageStream, batches: int) -> list[list[Key]]:
    return list(islice(stream, batches))


@given(size=SIZES, batch=SIZES, seed=st.integers(0, 99))
def test_every_epoch_is_a_permutation(size: int, batch: int, seed: int) -> None:
    drawn = list(chain(*keys(ImageStream(size, batch, seed), 3 * size)))[: 3 * size]
    for epoch in range(3):
        passage = drawn[epoch * size : (epoch + 1) * size]
        assert {key[0] for key in passage} == {epoch}
        assert sorted(key[1] for key in passage) == list(range(size))


@given(size=SIZES, batch=st.integers(1, 6), world=st.integers(1, 4), seed=st.integers(0, 99))
def test_ranks_partition_the_global_batch(size: int, batch: int, world: int, seed: int) -> None:
    together = keys(ImageStream(size, batch * world, seed), 5)
    ranks = [keys(ImageStream(size, batch, seed, rank, world), 5) for rank in range(world)]
    assert [list(chain(*parts)) for parts in zip(*ranks, strict=True)] == together


@given(size=SIZES, batch=SIZES, seed=st.integers(0, 99), done=st.integers(0, 30))
def test_start_image_resumes_exactly(size: int, batch: int, seed: int, done: int) -> None:
    whole = keys(ImageStream(size, batch, seed), done + 4)
    assert keys(ImageStream(size, batch, seed, start_image=done * batch), 4) == whole[done:]


def test_second_iteration_starts_again() -> None:
    stream = ImageStream(10, 3, seed=1)
    assert keys(stream, 6) == keys(stream, 6)


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(index for _, index in keys(ImageStream(50, 50, seed), 1)[0]) for seed in range(20)}
    orders |= {tuple(index for _, index in batch) for batch in keys(ImageStream(50, 50, 0), 20)[1:]}
    assert len(orders) == 39


@pytest.mark.parametrize("bad", [{"dataset_size": 0}, {"batch_size": 0}, {"rank": 2, "world_size": 2}])
def test_invalid_streams_are_rejected(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        ImageStream(**({"dataset_size": 4, "batch_size": 2, "seed": 0} | bad))
