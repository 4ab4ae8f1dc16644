"""What is taken from a forward pass: the right map of the right layer, whatever the module does with it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from facelab.filters import taps

X = torch.randn(3, 4, 10, 10, generator=torch.Generator().manual_seed(0))


def capture(module, **how):
    convs = {name: m for name, m in module.named_modules() if isinstance(m, nn.Conv2d)}
    return taps.capture(module, X, how.pop("layers", convs), **how)


def conv(out=4, k=3, **more):
    return nn.Conv2d(4, out, k, padding=k // 2, **more)


def normed(c=4):
    """Batch norm that does something."""
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(c)
    norm.running_mean[:], norm.running_var[:] = torch.randn(c), torch.rand(c) + 0.5
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    "bend",
    [
        nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.ReLU6(inplace=True), nn.PReLU(4), nn.LeakyReLU(0.1, True),
        nn.ELU(), nn.SELU(), nn.CELU(), nn.SiLU(), nn.SiLU(inplace=True), nn.GELU(), nn.Mish(), nn.Hardswish(),
        nn.Hardsigmoid(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.Softsign(), nn.Threshold(0.1, 0.0),
        nn.Hardtanh(), nn.LogSigmoid(), nn.RReLU(), nn.Hardshrink(), nn.Softshrink(), nn.Tanhshrink(),
    ],
    ids=repr,
)  # fmt: skip
def test_every_non_linearity_of_torch_is_known(bend):
    module = nn.Sequential(conv(), normed(), bend, conv()).eval()
    with torch.no_grad():
        expected = module[:3](X)
    torch.testing.assert_close(capture(module)["0"], expected.mean((2, 3)))


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * torch.sigmoid(x)


FUNCTIONS = {
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "relu_": lambda x: x.relu_(),
    "torch.relu": torch.relu,
    "clamp": lambda x: x.clamp(min=0),
    "clamp_": lambda x: x.clamp_(0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "maximum": lambda x: torch.maximum(x, torch.zeros(())),
    "where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "swish by hand": lambda x: x * torch.sigmoid(x),
    "swish by hand, the other way": lambda x: x.sigmoid() * x,
    "mish by hand": lambda x: x * torch.tanh(F.softplus(x)),
    "swish as an autograd function": lambda x: Swish.apply(x),
    "hard swish by hand": lambda x: x * (F.relu6(x + 3) / 6),
    "hard swish by hand, in place": lambda x: F.relu6(x + 3).div_(6).mul_(x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_count_like_modules(name):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.norm, self.b = conv(), normed(), conv()

        def forward(self, x):
            return self.b(FUNCTIONS[name](self.norm(self.a(x))))

    net = Net().eval()
    with torch.no_grad():
        expected = FUNCTIONS[name](net.norm(net.a(X)))
    torch.testing.assert_close(capture(net)["a"], expected.mean((2, 3)))


class Block(nn.Module):
    """As torchvision's BasicBlock: one in-place ReLU used twice, a shortcut with a conv of its own."""

    def __init__(self, inplace=True):
        super().__init__()
        self.conv1, self.bn1, self.conv2, self.bn2 = conv(), normed(), conv(), normed()
        self.down = nn.Sequential(conv(k=1), normed())
        self.relu = nn.ReLU(inplace)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.down(x)
        return self.relu(out)


@pytest.mark.parametrize("inplace", [True, False])
def test_a_residual_sum_carries_both_branches(inplace):
    block = Block(inplace).eval()
    seen = capture(block)
    with torch.no_grad():
        inner = F.relu(block.bn1(block.conv1(X)))
        torch.testing.assert_close(seen["conv1"], inner.mean((2, 3)))
        torch.testing.assert_close(seen["conv2"], block(X).mean((2, 3)))
    assert torch.equal(seen["conv2"], seen["down.0"])


def test_blocks_in_a_row_keep_their_own_maps():
    net = nn.Sequential(Block(), Block(), Block()).eval()
    seen = capture(net)
    with torch.no_grad():
        for i in range(3):
            torch.testing.assert_close(seen[f"{i}.conv2"], net[: i + 1](X).mean((2, 3)))


class PreActivation(nn.Module):
    """conv2's sum with the stream reaches the next block's norm and ReLU, and the stream goes on past
    them."""

    def __init__(self):
        super().__init__()
        self.bn1, self.conv1, self.bn2, self.conv2 = normed(), conv(), normed(), conv()

    def forward(self, x):
        return x + self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))


def test_pre_activation_blocks():
    net = nn.Sequential(PreActivation(), PreActivation()).eval()
    seen = capture(net)
    with torch.no_grad():
        first = net[0](X)
        torch.testing.assert_close(seen["0.conv2"], F.relu(net[1].bn1(first)).mean((2, 3)))
        torch.testing.assert_close(seen["1.conv2"], net[1](first).mean((2, 3)))  # the end of the network


def test_squeeze_and_excitation_does_not_stop_the_search():
    class Squeeze(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.down, self.up = conv(), conv(2, 1), nn.Conv2d(2, 4, 1)

        def forward(self, x):
            y = self.main(x)
            return F.relu(x + y * torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(y, 1))))))

    net = Squeeze().eval()
    with torch.no_grad():
        torch.testing.assert_close(capture(net)["main"], net(X).mean((2, 3)))


def test_a_linear_bottleneck_is_taken_where_the_next_conv_takes_it():
    net = nn.Sequential(conv(), normed(), conv(), nn.ReLU()).eval()
    with torch.no_grad():
        torch.testing.assert_close(capture(net)["0"], net[:2](X).mean((2, 3)))


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
def test_padding_for_the_next_conv_is_not_part_of_the_map(padding_mode):
    net = nn.Sequential(conv(), nn.ZeroPad2d((0, 1, 0, 1)), conv(padding_mode=padding_mode)).eval()
    with torch.no_grad():
        torch.testing.assert_close(capture(net)["0"], net[0](X).mean((2, 3)))


ENDS = {
    "the end of the network": lambda y: y,
    "a tuple and a dict at the end": lambda y: ({"maps": y}, [y.mean()]),
    "flattening": lambda y: y.flatten(1) @ torch.ones(400, 2),
    "view": lambda y: y.view(len(y), -1),
    "global average": lambda y: y.mean((2, 3)),
    "pooling": lambda y: F.max_pool2d(y, 2),
    "splitting": lambda y: torch.max(*y.chunk(2, 1)),  # maxout, as in LightCNN
    "slicing": lambda y: torch.max(y[:, :2], y[:, 2:]),
    "concatenation": lambda y: F.relu(torch.cat([y, y], 1)),
    "permutation": lambda y: F.gelu(y.permute(0, 2, 3, 1)),
    "writing into it": lambda y: y.exponential_(),
}


@pytest.mark.parametrize("name", ENDS)
def test_elsewhere_the_map_is_taken_as_it_stands(name):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv()

        def forward(self, x):
            return ENDS[name](self.conv(x))

    net = Net().eval()
    with torch.no_grad():
        torch.testing.assert_close(capture(net)["conv"], net.conv(X).mean((2, 3)))


def test_a_non_linearity_after_pooling_counts():
    net = nn.Sequential(conv(), nn.MaxPool2d(2), nn.ReLU()).eval()
    with torch.no_grad():
        torch.testing.assert_close(capture(net)["0"], net(X).mean((2, 3)))


def test_before_the_non_linearity_and_map_norm():
    net = nn.Sequential(conv(6), nn.ReLU(inplace=True)).eval()
    with torch.no_grad():
        maps = net[0](X)
    torch.testing.assert_close(capture(net, where="before")["0"], maps.mean((2, 3)))
    torch.testing.assert_close(capture(net, reduce="norm")["0"], maps.clamp(min=0).square().sum((2, 3)).sqrt())


def test_depthwise_convs_and_low_precision():
    net = nn.Sequential(conv(groups=4), nn.ReLU()).to(torch.bfloat16).eval()
    seen = taps.capture(net, X.bfloat16(), {"0": net[0]})["0"]
    assert seen.dtype == torch.float32 and seen.shape == (3, 4)
    with torch.no_grad():
        torch.testing.assert_close(seen, net(X.bfloat16()).float().mean((2, 3)))


def test_only_the_named_layers_in_the_order_asked():
    net = nn.Sequential(conv(), nn.ReLU(), conv(), nn.ReLU(), conv())
    assert list(capture(net, layers={"4": net[4], "0": net[0]})) == ["4", "0"]


def test_the_module_is_left_as_it_was():
    net = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)).train()
    net[3].eval()
    before = net[1].running_mean.clone()
    first, second = capture(net)["0"], capture(net)["0"]
    assert torch.equal(first, second) and torch.equal(net[1].running_mean, before)
    assert [m.training for m in net] == [True, True, True, False] and not net[0]._forward_hooks
    assert not first.requires_grad


def test_hooks_and_modes_go_even_where_the_pass_fails():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv()

        def forward(self, x):
            self.conv(x)
            raise RuntimeError("broken on purpose")

    net = Broken().train()
    with pytest.raises(RuntimeError, match="on purpose"):
        capture(net)
    assert not net.conv._forward_hooks and net.conv.training
    assert torch.relu(torch.zeros(1)).item() == 0 and torch.overrides._get_current_function_mode() is None


def test_freed_tensors_never_pass_their_marks_on():
    """Many passes in a row give the memory, and so the ids, of freed tensors to others."""
    net = nn.Sequential(*[Block() for _ in range(4)]).eval()
    first = capture(net)
    for _ in range(20):
        again = capture(net)
        assert all(torch.equal(first[k], again[k]) for k in first)


class Odd(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.a, self.idle, self.how = conv(), conv(), how

    def forward(self, x):
        y = self.a(x)
        if self.how == "twice":
            y = self.a(y)
        if self.how == "outside torch":
            y = torch.from_numpy(y.numpy().clip(0))
        if self.how == "patches":
            y = self.idle(y.reshape(6, 2, 10, 10).repeat(1, 2, 1, 1))
        return self.idle(y) if self.how in ("twice", "outside torch") else y


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("idle", "layer 'idle' never ran"),
        ("twice", "layer 'a' runs more than once"),
        ("patches", r"layer 'idle' gives maps of shape \(6, 4, 10, 10\) for 3 images"),
    ],
)
def test_layers_that_have_no_single_map_are_named(how, message):
    with pytest.raises(ValueError, match=message):
        capture(Odd(how))


def test_leaving_torch_takes_the_map_as_it_stands():
    net = Odd("outside torch").eval()
    with torch.no_grad():
        torch.testing.assert_close(capture(net)["a"], net.a(X).mean((2, 3)))


def test_unknown_words():
    net = nn.Sequential(conv())
    with pytest.raises(ValueError, match="unknown where 'befor': did you mean 'before'"):
        capture(net, where="befor")
    with pytest.raises(ValueError, match="unknown reduce 'largest': expected one of 'mean', 'norm'"):
        capture(net, reduce="largest")
