"""What the tests of halfback.torch share."""

import pytest
import torch
import torch.distributed as dist


@pytest.fixture
def one_thread():
    """Operators use one thread, as those of ranks do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """A group of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path_factory.mktemp('group')}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
