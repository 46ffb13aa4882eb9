"""Small calls without compilation: every primitive, and whole networks, by numpy against XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import ntkc
from ntkc import stax
from ntkc.host import loaded as host
from ntkc.host import tape
from ntkc.host.primitives import TABLE
from ntkc.host.tape import INNER, Tape, tape_of

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
UNIT, WHOLE = RNG.uniform(-0.9, 0.9, (3, 4)), np.array([[-7, 5, 3], [2, -4, 9]])
COMPLEX = A + 1j * B


@jax.custom_vjp
def with_own_vjp(x):
    return jnp.cos(x)


with_own_vjp.defvjp(lambda x: (jnp.cos(x), x), lambda x, t: (t * x,))


@jax.custom_batching.custom_vmap
def with_own_vmap(x):
    return jnp.sin(x)


with_own_vmap.def_vmap(lambda size, batched, x: (jnp.sin(x), True))

ONE = ["neg", "abs", "sign", "floor", "ceil", "exp", "expm1", "sin", "cos", "tan", "atan", "sinh", "cosh", "tanh"]
FUNCTIONS = {
    **{name: (getattr(lax, name), A) for name in ONE if hasattr(lax, name)},
    **{name: (getattr(lax, name), UNIT) for name in ("asin", "acos", "erf_inv")},
    **{name: (getattr(lax, name), np.abs(A) + 0.1) for name in ("sqrt", "rsqrt", "log", "log1p", "lgamma", "square")},
    **{name: (getattr(lax, name), A) for name in ("logistic", "erf", "erfc", "is_finite")},
    **{
        name: (getattr(lax, name), A, B)
        for name in ("add", "sub", "mul", "div", "rem", "max", "min", "atan2", "complex")
    },
    **{name: (getattr(lax, name), A, B) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    "whole division": (lax.div, WHOLE, np.full_like(WHOLE, -2)),
    "whole remainder": (lax.rem, WHOLE, np.full_like(WHOLE, -2)),
    "pow": (lambda a, b: lax.pow(jnp.abs(a), b), A, B),
    **{f"integer_pow {n}": (lambda a, n=n: lax.integer_pow(a, n), A) for n in (-3, -1, 0, 1, 2, 3, 7)},
    "bits": (lambda a, b: (a & b, a | b, a ^ b, ~a), WHOLE, WHOLE.T.reshape(2, 3)),
    "logic": (lambda a, b: ((a > 0) & (b > 0), (a > 0) | (b > 0), ~(a > 0)), A, B),
    "complex parts": (lambda z: (z.real, z.imag, jnp.conj(z), z * z, z.astype("complex64").real), COMPLEX),
    "select": (lambda a, b: jnp.where(a > b, a, b), A, B),
    "select of three": (lambda a: lax.select_n(jnp.asarray([0, 2, 1, 1], "int32"), a[0], a[1], a[2]), A),
    "clamp": (lambda a: lax.clamp(-0.5, a, 0.5), A),
    "convert": (lambda a: (a.astype("float32"), a.astype(int), (a > 0).astype(float), a.astype(bool)), 3 * A),
    "broadcast": (lambda a: (lax.broadcast_in_dim(a, (2, 3, 5, 4), (1, 3)), jnp.ones((2, 0)), a[:, None] * a), A),
    "shapes": (lambda a: (a.reshape(2, 6), a.T, a[None, :, None], jnp.squeeze(a[:1]), lax.rev(a, (0, 1))), A),
    "slices": (lambda a: (a[1:, ::2], lax.slice(a, (0, 1), (3, 4), (2, 1))), A),
    "dynamic slice": (lambda a, i: lax.dynamic_slice(a, (i, i - 9), (2, 2)), A, np.int32(7)),
    "dynamic update": (lambda a, b, i: lax.dynamic_update_slice(a, b[:2, :2], (i, -i)), A, B, np.int32(7)),
    "concatenate": (lambda a, b: (jnp.concatenate([a, b, a]), jnp.stack([a, b], 1)), A, B),
    **{
        f"pad {config}": (lambda a, c=config: lax.pad(a, 9.0, c), A)
        for config in [
            ((1, 2, 0), (0, 0, 1)),
            ((-1, 2, 2), (3, -2, 0)),
            ((-1, -1, 3), (-2, 0, 1)),
            ((0, 0, 0), (-2, -2, 0)),
        ]
    },
    "iota": (lambda a: (lax.broadcasted_iota("int32", (2, 3), 1), jnp.arange(4) * a), A),
    "dots": (lambda a, b: (a @ b.T, jnp.tensordot(a, b, 2), jnp.einsum("ij,ik->ijk", a, b), jnp.vdot(a, b)), A, B),
    "batched dots": (
        lambda a: (jnp.einsum("xij,yik->yixjk", a, a), jnp.einsum("xij,xkj->xik", a, a)),
        A.reshape(2, 3, 2),
    ),
    "reductions": (lambda a: (a.sum(), a.sum(0), a.max(1), a.min(), jnp.prod(a, 1)), A),
    "places": (lambda a: (jnp.argmax(a, 1), jnp.argmin(a, 0), jnp.argmax(a)), A),
    "reductions of truths": (lambda a: ((a > 0).all(0), (a > 0).any(1), (a > 9).any()), A),
    "accumulated": (lambda a: (jnp.cumsum(a, 1), lax.cumsum(a, 0, reverse=True), lax.cumprod(a, 1)), A),
    "barrier": (lambda a, b: lax.optimization_barrier((a, b)), A, B),
    "stop_gradient": (lax.stop_gradient, A),
    "cond": (lambda a, i: lax.cond(i > 3, jnp.sin, jnp.cos, a), A, np.int32(7)),
    "switch": (lambda a, i: lax.switch(i, [jnp.sin, jnp.cos, jnp.exp], a), A, np.int32(7)),
    "while": (lambda a: lax.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + 1, s[1] * a), (0, a)), A),
    "scan": (lambda a: lax.scan(lambda c, x: (c + x, c * x), a[0], a), A),
    "scan backwards": (lambda a: lax.scan(lambda c, x: (c + x, c * x), a[0], a, reverse=True), A),
    "scan of nothing": (lambda a: lax.scan(lambda c, _: (2 * c, None), a, length=3), A),
    "calls": (lambda a: jax.jit(jax.checkpoint(jnp.sin))(a) + jax.nn.relu(a) + jax.nn.silu(a) + jax.nn.relu6(a), A),
    "other rule": (lambda a: with_own_vjp(a) + with_own_vmap(a), A),
    "gather": (lambda a, i: (a[:, i], a[i[0], i], a[i[0]]), A, np.array([2, 0, 1])),
    "gather of blocks": (
        lambda a, i: jax.vmap(lambda j: lax.dynamic_slice(a, (j, j), (2, 3)))(i),
        A,
        np.array([1, 0, 9]),
    ),
    "by jax": (lambda a: (jnp.sort(a, 1), a[jnp.asarray([2, 0]), :], a.at[jnp.asarray([0, 0])].add(1.0)), A),
}


def by_numpy(function, *given):
    traced = jax.jit(function).trace(*given)
    leaves = zip(jax.tree.leaves(given), traced.jaxpr.in_avals, strict=True)
    made = tape_of(traced.jaxpr)(*(np.asarray(v, a.dtype) for v, a in leaves))
    return jax.tree.unflatten(jax.tree.structure(traced.out_info), made)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_primitives(name, x64):
    function, *given = FUNCTIONS[name]
    expected, found = jax.jit(function)(*given), by_numpy(function, *given)
    for right, made in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        assert (np.shape(made), np.asarray(made).dtype) == (right.shape, right.dtype)
        np.testing.assert_allclose(made, right, rtol=1e-13 if right.dtype.itemsize >= 8 else 1e-6, atol=1e-15)


def test_every_primitive_is_tested(x64):
    met = set()

    def meet(jaxpr):
        for eqn in jaxpr.eqns:
            met.add(eqn.primitive.name)
            inner = [v for p in eqn.params.values() for v in (p if isinstance(p, tuple) else (p,))]
            for found in (getattr(v, "jaxpr", v) for v in inner):
                if hasattr(found, "eqns"):
                    meet(found)

    for function, *given in FUNCTIONS.values():
        meet(jax.jit(function).trace(*given).jaxpr.jaxpr)
    other_names = {"add_any", "copy", "copy_p", "pjit", "closed_call", "checkpoint"}
    assert {*TABLE, *INNER} - met <= other_names


D = stax.Dense
NETWORKS = {
    "relu": (stax.serial(*(D(8, 1.5, 0.1), stax.Relu()) * 3, D(1)), (5,)),
    "rolled": (stax.serial(*(D(8, 1.5, 0.1), stax.Relu()) * 12, D(1)), (5,)),
    "erf, gelu": (stax.serial(D(8, 1.5, 0.1), stax.Erf(), D(8), stax.Gelu(), D(1)), (5,)),
    "series": (stax.serial(D(8), stax.Activation("tanh(x)"), D(1)), (5,)),
    "threshold": (stax.serial(D(8, 3.0), stax.Activation("Max(0, x - 1/2)"), D(1)), (5,)),
    "pixels": (
        stax.serial(stax.Conv(8, (3,), padding="SAME"), stax.Relu(), stax.AvgPool((2,)), stax.Flatten(), D(1)),
        (4, 2),
    ),
    "attention": (
        stax.serial(stax.GlobalSelfAttention(8, 4, 4, 2, linear_scaling=True), stax.Relu(), stax.GlobalAvgPool()),
        (3, 2),
    ),
}


CASES = [*((name, "float64") for name in NETWORKS), ("relu", "float32"), ("pixels", "float32")]


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_networks(name, precision):
    with jax.enable_x64(precision == "float64"):
        net, shape = NETWORKS[name]
        x = np.random.default_rng(0).normal(size=(4, *shape)).astype(precision)
        x[1] = x[0] + 1e-4 * x[2]
        function = ntkc.compile(net[2], input_shape=shape).module["kernel"]
        bound = 3e-6 if precision == "float32" else 1e-13
        found, _ = by_numpy(function.jitted, *function.arguments(x))
        for made, expected in zip(found, function(x), strict=True):
            assert made.dtype == expected.dtype
            np.testing.assert_allclose(made, expected, rtol=bound, atol=bound)


NET, X = NETWORKS["relu"][0], np.random.default_rng(0).normal(size=(4, 5)).astype("float32")


@pytest.fixture
def ran(monkeypatch):
    """The functions that numpy ran, one after the other."""
    found, call = [], Tape.__call__
    monkeypatch.setattr(Tape, "__call__", lambda self, *given: (found.append(self), call(self, *given))[1])
    return found


def test_small_calls_are_not_compiled(ran):
    program = ntkc.compile(NET[2])
    made = program(X, None, "ntk")
    assert len(ran) >= 1
    assert isinstance(made, jax.Array)
    assert program.module["ntk"].jitted._cache_size() == 0
    np.testing.assert_array_equal(made, program(X, None, "ntk"))


def test_many_calls_are_compiled_in_the_end(ran, monkeypatch):
    monkeypatch.setattr(host, "COMPILED_CALL_SECONDS", 1e-5)
    program = ntkc.compile(NET[2])
    first = program(X, None, "ntk")
    for _ in range(20):
        last = program(X, None, "ntk")
    assert 0 < len([t for t in ran if t.length > 50]) < 20
    np.testing.assert_allclose(first, last, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("setting", ["jax_debug_nans", "jax_debug_infs", "jax_disable_jit"])
def test_settings_of_jax_are_kept(ran, setting):
    expected = ntkc.compile(NET[2])(X, None, "ntk")
    ran.clear()
    jax.config.update(setting, True)
    try:
        np.testing.assert_allclose(ntkc.compile(NET[2])(X, None, "ntk"), expected, rtol=1e-5, atol=1e-6)
    finally:
        jax.config.update(setting, False)
    assert not ran


def test_traced_and_large_data_are_not_run_by_numpy(ran):
    expected = NET[2](X, None, "ntk")
    ran.clear()
    np.testing.assert_allclose(jax.jit(lambda x: NET[2](x, None, "ntk"))(X), expected, rtol=1e-5, atol=1e-6)
    NET[2](np.random.default_rng(0).normal(size=(1500, 3)), None, "nngp")
    assert not ran


def test_equal_networks_share_what_was_loaded():
    def program(w):
        return ntkc.compile(stax.serial(D(8, w, 0.1), stax.Relu(), D(1))[2])

    assert program(1.25).module is program(1.25).module
    assert program(1.25).module is not program(1.5).module


@pytest.mark.parametrize("name", NETWORKS)
def test_kernels_need_no_primitive_that_numpy_lacks(name, monkeypatch):
    net, shape = NETWORKS[name]
    monkeypatch.setattr(tape, "_by_jax", lambda eqn: pytest.fail(f"{eqn.primitive.name} is compiled"))
    program = ntkc.compile(net[2], input_shape=shape)
    program(np.random.default_rng(0).normal(size=(3, *shape)))
