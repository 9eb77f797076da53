"""Networks cut up over devices compute what they do whole."""

import copy

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.nn import functional as F

import gesso
from gesso.training.run import parallel
from gesso.training.sharding import Outline, gathered, shard, whole
from tests._networks import convolutional
from tests.test_contract_backbones import TINY, build, image_for


@pytest.fixture(scope="module")
def mesh():
    """A single process as a group of its own: weights are cut, gathered and freed as they are among several."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


class Run(nn.Module):
    """What training does with a network: it calls the seam, not `forward`."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def losses(self, image: Tensor) -> Tensor:
        padded = self.net.pad(image)
        restored = self.net.reconstruct(self.net.features(padded)[-1], padded)
        return restored.square().mean() + self.net.stage_features(padded)[0].square().mean()


def gradients(net, image: Tensor, mesh=None) -> dict[str, Tensor]:
    """Gradients of a loss by the parameter's name; with a mesh, of the network cut up over it."""
    run = Run(net)
    if mesh is not None:
        shard(run, mesh)
        register_fsdp_forward_method(run, "losses")
    torch.manual_seed(0)
    run.losses(image).backward()
    return {name: whole(p.grad) for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", TINY)
@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")
def test_every_network_learns_the_same_block_by_block(name, mesh):
    net = build(name).train().double()
    cut = copy.deepcopy(net)
    image = image_for(net, 16, 16).double()
    torch.testing.assert_close(gradients(cut, image, mesh), gradients(net, image))
    assert sum(isinstance(part, FSDPModule) for part in cut.modules()) > 1


class Entangled(nn.Module):
    """A user's network that computes with the weights of its parts, some of them twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(3))
        self.body[2][0].weight = self.body[0][0].weight
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        feature = self.first(image)
        for block in self.body:
            feature = feature + F.conv2d(feature, block[0].weight, padding=1).relu()
        return image + self.last(feature)


def test_of_a_users_network_nothing_is_assumed(mesh):
    torch.manual_seed(0)
    net = gesso.wrap(Entangled()).double()
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    assert not any(isinstance(part, FSDPModule) for part in net.modules())
    torch.testing.assert_close(gradients(copy.deepcopy(net), image, mesh), gradients(net, image))


def test_an_outline_is_given_weights_back(mesh):
    net = build("swinir_tiny")
    image = image_for(net, 16, 16)
    cut, outline = copy.deepcopy(net), Outline(net)
    shard(cut, mesh)
    again = outline.filled(gathered(cut.state_dict()))
    assert type(again) is type(net)
    with torch.no_grad():
        assert torch.equal(again(image), net(image))
    elsewhere = outline.filled({name: tensor.to("meta") for name, tensor in net.state_dict().items()})
    assert all(tensor.is_meta for tensor in (*elsewhere.parameters(), *elsewhere.buffers()))


def test_other_strategies_are_refused(tmp_path):
    with pytest.raises(ValueError, match="strategy: expected auto or ddp or fsdp, got 'deepspeed'"):
        gesso.pretrain(out=tmp_path / "run", backbone="restormer_tiny", strategy="deepspeed")
    assert not (tmp_path / "run").exists()


def test_cuda_graphs_of_a_network_that_is_cut_up_are_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="reduce-overhead records where weights lie"):
        parallel("fsdp", convolutional(), "reduce-overhead")
