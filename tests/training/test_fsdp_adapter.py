"""What the reader of FSDP2's gradients refuses."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from bstheory.errors import InputError
from bstheory.training.gradient_statistics import GradientStatistics


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_replicated_shards_are_refused() -> None:
    fake = pytest.importorskip("torch.testing._internal.distributed.fake_pg")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("fake", rank=0, world_size=4, store=fake.FakeStore())
    try:
        mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicas", "shards"))
        model = fully_shard(torch.nn.Linear(8, 8), mesh=mesh)
        with pytest.raises(InputError, match="2-dimensional mesh"):
            GradientStatistics(model)
    finally:
        dist.destroy_process_group()
