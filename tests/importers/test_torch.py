"""torch modules: kernels against the very same modules at finite width, reports, refusals, random modules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkc
from ntkc.importers.refusals import UnsupportedModel
from ntkc.ir.graph import op_of, ordered

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
torch = pytest.importorskip("torch", reason="needs the extra torch")
nn = torch.nn
NETS = 30
ROWS = np.float32(np.random.default_rng(0).standard_normal((4, 20)))
IMAGES = np.float32(np.random.default_rng(0).standard_normal((3, 3, 8, 8)))
TOKENS = np.random.default_rng(0).integers(0, 50, (2, 6))


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


class PreActivation(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))

    def forward(self, x):
        h = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(torch.relu(norm(h)))
        return x + h


class ConvNeXt(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x):
        h = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        h = self.scale * self.down(nn.functional.gelu(self.up(h)))
        return x + h.permute(0, 3, 1, 2)


class Block(nn.Module):
    def __init__(self, width, heads, is_scaled_by_d):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads, self.scale = heads, heads / width if is_scaled_by_d else None

    def forward(self, x):
        n, length, width = x.shape
        parts = self.qkv(self.norms[0](x)).view(n, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        h = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
        x = x + self.out(h.transpose(1, 2).reshape(n, length, width))
        return x + self.down(nn.functional.gelu(self.up(self.norms[1](x)), approximate="tanh"))


class Decoder(nn.Module):
    def __init__(self, width, is_scaled_by_d=True):
        super().__init__()
        self.tokens = nn.Embedding(50, width)
        self.positions = nn.Parameter(0.2 * torch.randn(6, width))
        self.blocks = nn.Sequential(*(Block(width, 4, is_scaled_by_d) for _ in range(2)))
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        return self.head(self.blocks(self.tokens(x) + self.positions)[:, -1])


def mlp(width=256):
    return nn.Sequential(nn.Linear(20, width), nn.ReLU(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))


def lenet(width=128):
    layers = [nn.Conv2d(3, width, 3, stride=2, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(width, width, 2)]
    return nn.Sequential(*layers, nn.Tanh(), nn.Flatten(), nn.Linear(width, 1))


def residual(width=256):
    return nn.Sequential(nn.Linear(20, width), Residual(width), Residual(width), nn.Linear(width, 1))


def pre_activation(width=128):
    head = [nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 1)]
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), PreActivation(width), *head)


def convnext(width=96):
    stem = nn.Conv2d(3, width, 2, stride=2)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(width), nn.Linear(width, 1)]
    return nn.Sequential(stem, ConvNeXt(width), *head)


def finite(make, x, names, kernel_of):
    """Kernels of random modules."""
    for seed in range(NETS):
        torch.manual_seed(1000 + seed)
        parameters = dict(make().named_parameters())
        yield np.asarray(kernel_of([jnp.asarray(parameters[n].detach().numpy()) for n in names], x))


@pytest.mark.parametrize(
    ("make", "x"),
    [
        pytest.param(mlp, ROWS, id="mlp"),
        pytest.param(lenet, IMAGES, id="lenet"),
        pytest.param(residual, ROWS, id="residual"),
        pytest.param(pre_activation, IMAGES, id="pre-activation"),
        pytest.param(convnext, IMAGES, id="convnext"),
        pytest.param(lambda: Decoder(192), TOKENS, id="decoder"),
    ],
)
def test_finite_modules_have_the_kernel_as_mean(make, x):
    torch.manual_seed(0)
    imported = ntkc.from_torch(make(), x)
    kernel = np.asarray(ntkc.compile(imported)(x, None, "ntk"))
    names = [name for name, _ in make().named_parameters()]
    ntk_fn = ntkc.empirical_ntk_fn(imported.function, trace_axes=(-1,), vmap_axes=None)
    found = np.stack(list(finite(make, x, names, jax.jit(lambda p, x: ntk_fn(x, None, p)))))
    size = np.linalg.norm(kernel)
    error = np.linalg.norm(found.mean(0) - kernel) / size
    noise = np.sqrt((found.var(0, ddof=1) / NETS).sum()) / size
    assert noise < 0.03
    assert error < 3 * noise


def test_attention_at_the_root_is_refused_by_module():
    with pytest.raises(UnsupportedModel, match=r"blocks.0 \(Block\): softmax of logits at 1/sqrt\(d\), d = 48"):
        ntkc.from_torch(Decoder(192, False), TOKENS)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = nn.Linear(20, 64), nn.Linear(64, 64), nn.Linear(64, 64)
        self.last.weight = self.again.weight

    def forward(self, x):
        return self.last(torch.relu(self.again(torch.relu(self.first(x)))))


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (
            Tied(),
            ROWS,
            r"last \(Linear\): the weight again.weight is used more than once \(first at again \(Linear\)\)",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 64, 3), nn.MaxPool2d(2)),
            IMAGES,
            r"1 \(MaxPool2d\): a max pool .*'MaxPool2d': 'avg'",
        ),
        (
            nn.Sequential(nn.Linear(20, 64), nn.PReLU()),
            ROWS,
            r"1 \(PReLU\): PReLU, whose slope is trained; use LeakyReLU",
        ),
        (nn.LSTM(20, 64, batch_first=True), np.float32(np.ones((2, 5, 20))), "the operation lstm|returns|no rule"),
    ],
)
def test_refusals(model, x, message):
    with pytest.raises(ntkc.errors.NtkcError, match=message):
        ntkc.from_torch(model, x)


def test_frozen_parameters_and_modes_stay():
    model = nn.Sequential(nn.Linear(20, 64), nn.Dropout(0.5), nn.ReLU(), nn.Linear(64, 1)).train()
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    imported = ntkc.from_torch(model, ROWS)
    assert all(m.training for m in model.modules())
    assert [op_of(imported.graph, n).frozen for n in ordered(imported.graph) if n.startswith("dense")] == [True, False]


def test_half_precision_and_transposed_weights():
    model = nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 1)).half()
    assert len(ntkc.from_torch(model.float(), ROWS).graph) == 4


LAYERS = (
    lambda rng, w: nn.Linear(w, w),
    lambda rng, w: nn.LayerNorm(w),
    lambda rng, w: rng.choice([nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.ELU, nn.Softplus, nn.Sigmoid, nn.Mish])(),
    lambda rng, w: rng.choice([nn.LeakyReLU, nn.Hardtanh, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.PReLU, nn.SELU])(),
    lambda rng, w: nn.Dropout(0.1),
    lambda rng, w: Residual(w),
)
PIXEL_LAYERS = (
    lambda rng, w: nn.Conv2d(w, w, int(rng.integers(1, 4)), padding=int(rng.integers(0, 2)), dilation=1),
    lambda rng, w: nn.Conv2d(w, w, 3, padding=1, groups=int(rng.choice([1, 2, w]))),
    lambda rng, w: nn.BatchNorm2d(w),
    lambda rng, w: nn.GroupNorm(int(rng.choice([1, 4, w])), w),
    lambda rng, w: rng.choice([nn.AvgPool2d, nn.MaxPool2d])(2),
    lambda rng, w: rng.choice([nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh])(),
    lambda rng, w: nn.AdaptiveAvgPool2d(2),
    lambda rng, w: nn.ConvTranspose2d(w, w, 2),
    lambda rng, w: PreActivation(w),
    lambda rng, w: ConvNeXt(w),
)


@pytest.mark.parametrize("seed", range(200))
def test_random_modules_convert_or_are_refused(seed):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    has_pixels = seed % 2 == 0
    table, x = (PIXEL_LAYERS, IMAGES) if has_pixels else (LAYERS, ROWS)
    body = [table[rng.integers(len(table))](rng, 16) for _ in range(rng.integers(1, 6))]
    first = nn.Conv2d(3, 16, 3, padding=1) if has_pixels else nn.Linear(20, 16)
    model = nn.Sequential(
        first, *body, *([nn.AdaptiveAvgPool2d(1), nn.Flatten()] if has_pixels else []), nn.Linear(16, 1)
    )
    try:
        with torch.no_grad():
            model.eval()(torch.tensor(x))
    except RuntimeError:
        pytest.skip("no module: sizes do not fit")
    assert outcome(model, x)


def outcome(model, x):
    """The stage that was reached, or why not."""
    try:
        return ntkc.compile(model, example=x, until="lower").text()
    except ntkc.errors.NtkcError as error:
        return str(error)
