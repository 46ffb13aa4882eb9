"""Helpers of emitted source for networks with pixels.

An array of a form has, for each letter, two axes p, p' (F: all pairs of pixels), one (D: p = p'), or three r, a, a' (a
number s: pixels p = s a + r, p' = s a' + r), then samples.
"""

from __future__ import annotations

from ntkc.backends.helper import Helper

PIXEL_HELPERS: dict[str, Helper] = {
    "groups": Helper('''
def groups(form):
    """The array axes of each spatial axis: one for equal pixels (D), two for all pairs (F), three for pairs mod s."""
    counts = [{"D": 1, "F": 2}.get(f, 3) for f in form]
    return [tuple(range(sum(counts[:i]), sum(counts[: i + 1]))) for i in range(len(form))]
'''),
    "widened": Helper(
        '''
def widened(k, form, axes):
    """Margins of zeros, or of the other end of the image, and zeros between pixels, for filters and pools."""
    for wraps in (False, True):
        ends, sides = [(0, 0, 0)] * k.ndim, [(0, 0)] * k.ndim
        for group, (low, high, is_wrapped, interior) in zip(groups(form), axes):
            for a in group if is_wrapped == wraps else ():
                ends[a] = (0, interior - 1, interior - 1) if wraps else (low, high, interior - 1)
                sides[a] = (low, high)
        if any(e != (0, 0, 0) for e in ends):
            k = lax.pad(k, jnp.zeros((), k.dtype), ends)
        if wraps and any(s != (0, 0) for s in sides):
            k = jnp.pad(k, sides, mode="wrap")
    return k
''',
        ("groups",),
    ),
    "cut": Helper('''
def cut(k, group, start, stride, size):
    """Every `stride`-th pixel from `start` on, along all array axes of a spatial axis at once."""
    for a in group:
        k = lax.slice_in_dim(k, start, start + (size - 1) * stride + 1, stride, a)
    return k
'''),
    "patched": Helper(
        '''
def patched(k, form, axes):
    """Mean over the taps of a filter, which moves on both sides of a pair at once.

    axes: (taps, stride, low, high, wraps, spread, interior) of each spatial axis.
    """
    places, count = list(zip(groups(form), axes)), 1
    k = widened(k, form, [(0, 0, False, 1) if len(g) == 3 else (a[2], a[3], a[4], a[6]) for g, a in places])
    for group, axis in places[::-1]:
        taps, stride, _, _, _, spread, _ = axis
        count *= taps
        if len(group) == 3:
            k = patched_mod(k, group, axis)
        elif taps > 1 or stride > 1:
            size = (k.shape[group[0]] - (taps - 1) * spread - 1) // stride + 1
            parts = [cut(k, group, t * spread, stride, size) for t in range(taps)]
            k = sum(parts[1:], parts[0])
    # XLA would multiply two complex numbers.
    scale = 1 / count
    return lax.complex(k.real * scale, k.imag * scale) if jnp.iscomplexobj(k) else k * scale
''',
        ("groups", "widened", "cut", "patched_mod"),
    ),
    "patched_mod": Helper(
        '''
def patched_mod(k, group, axis):
    """Sum over the taps of a filter along axes r, a, a' of pixels s a + r, s a' + r: tap by tap another r, or a + 1."""
    (taps, stride, low, high, wraps, spread, _), (r, a, b) = axis, group
    step, count = k.shape[r], k.shape[a]
    size = (step * count + low + high - (taps - 1) * spread - 1) // stride + 1
    places = [[divmod(stride * i + t * spread - low, step) for t in range(taps)] for i in range(step // stride)]
    far = max(abs(q) for row in places for q, _ in row)
    ends = [(far, far) if i in (a, b) else (0, 0) for i in range(k.ndim)]
    k = jnp.pad(k, ends, mode="wrap" if wraps else "constant") if far else k
    rows = []
    for row in places:
        parts = [cut(cut(k, (a, b), far + q, 1, size // len(places)), (r,), i, 1, 1) for q, i in row]
        rows.append(sum(parts[1:], parts[0]))
    return jnp.concatenate(rows, r) if len(rows) > 1 else jnp.squeeze(rows[0], r)
''',
        ("cut",),
    ),
    "pooled": Helper(
        '''
def pooled(k, form, axes):
    """Sum over a window, which moves on each side of a pair by itself, times a number for each place.

    axes: (window, stride, low, high, wraps, scales) of each spatial axis.
    """
    k = widened(k, form, [(low, high, wraps, 1) for _, _, low, high, wraps, _ in axes])
    for group, (window, stride, _, _, _, scales) in zip(groups(form), axes):
        for a in group:
            size = (k.shape[a] - window) // stride + 1
            parts = [cut(k, (a,), t, stride, size) for t in range(window)]
            k = sum(parts[1:], parts[0])
            k = k * jnp.asarray(scales, k.real.dtype).reshape((-1,) + (1,) * (k.ndim - a - 1))
    return k
''',
        ("groups", "widened", "cut"),
    ),
    "multiplied": Helper(
        '''
def multiplied(k, form, matrices):
    """A K A^T along each spatial axis; None leaves it."""
    for group, rows in zip(groups(form), matrices):
        for a in group if rows is not None else ():
            matrix = jnp.asarray(rows, k.dtype)
            k = jnp.moveaxis(jnp.tensordot(matrix, k, (1, a), precision=lax.Precision.HIGHEST), 0, a)
    return k
''',
        ("groups",),
    ),
    "taken": Helper(
        '''
def taken(k, form, places):
    """The pixels at these places along each spatial axis; None leaves it."""
    for group, indices in zip(groups(form), places):
        for a in group if indices is not None else ():
            k = jnp.take(k, jnp.asarray(indices), axis=a)
    return k
''',
        ("groups",),
    ),
    "placed": Helper(
        '''
def placed(k, form, places):
    """Zeros around, so that pixels start at (start, out of total) along each spatial axis; None leaves it."""
    ends = [(0, 0, 0)] * k.ndim
    for group, place in zip(groups(form), places):
        for a in group if place is not None else ():
            ends[a] = (place[0], place[1] - place[0] - k.shape[a], 0)
    return lax.pad(k, jnp.zeros((), k.dtype), ends)
''',
        ("groups",),
    ),
    "permuted": Helper(
        '''
def permuted(k, form, order):
    """Spatial axes in another order."""
    axes = groups(form)
    pixels = [a for i in order for a in axes[i]]
    return jnp.transpose(k, (*pixels, *range(len(pixels), k.ndim)))
''',
        ("groups",),
    ),
    "contracted": Helper('''
def contracted(k, form, to, array, labels):
    """A K A^T over several spatial axes at once; labels of the axes of K, of A and of the result."""
    reads, own, made = labels
    letters = {**dict(zip(made, to)), **dict(zip(reads, form))}
    names = {a: {"D": a, "F": a + a.upper()}.get(f, chr(ord(a) + 13) + a + a.upper()) for a, f in letters.items()}
    other = "".join(a if letters[a] == "D" else a.upper() for a in own)
    spec = f"{own},{''.join(names[a] for a in reads)}...,{other}->{''.join(names[a] for a in made)}..."
    matrix = jnp.asarray(array, k.dtype)
    return jnp.einsum(spec, matrix, k, matrix, precision=lax.Precision.HIGHEST)
'''),
    "contracted_values": Helper('''
def contracted_values(v, array, labels):
    """A v over several spatial axes at once; labels of the axes of v, of A and of the result."""
    reads, own, made = labels
    return jnp.einsum(f"{own},{reads}...->{made}...", jnp.asarray(array, v.dtype), v, precision=lax.Precision.HIGHEST)
'''),
    "picked": Helper(
        '''
def picked(k, form, places):
    """The entry of one pixel along each spatial axis, which then is gone; None leaves it."""
    for group, place in list(zip(groups(form), places))[::-1]:
        for a in group[::-1] if place is not None else ():
            k = lax.index_in_dim(k, place, a, keepdims=False)
    return k
''',
        ("groups",),
    ),
    "levelled": Helper('''
def levelled(v, axes):
    """The mean over spatial axes, at each pixel."""
    return jnp.broadcast_to(jnp.mean(v, axes, keepdims=True), v.shape)
'''),
    "total": Helper('''
def total(k, form, scale):
    """Sum over all pixels, or pairs of pixels, times a number."""
    return jnp.sum(k, tuple(range(len(form) + form.count("F")))) * scale
'''),
    "narrowed": Helper(
        '''
def narrowed(k, form, to):
    """The entries of `form` that `to` keeps: of F or pairs mod s, those mod a multiple of s, or of equal pixels (D)."""
    for group, before, after in list(zip(groups(form), form, to))[::-1]:
        if before == after:
            continue
        k = jnp.expand_dims(k, group[0]) if before == "F" else k
        first, (step, count) = group[0], k.shape[group[0] : group[0] + 2]
        factor = count if after == "D" else int(after) // step
        k = k.reshape(*k.shape[: first + 1], *(count // factor, factor) * 2, *k.shape[first + 3 :])
        k = jnp.moveaxis(jnp.diagonal(k, axis1=first + 2, axis2=first + 4), -1, first)
        shape = (step * factor,) if after == "D" else (step * factor, *k.shape[first + 2 : first + 4])
        k = k.reshape(*k.shape[:first], *shape, *k.shape[first + 4 :])
    return k
''',
        ("groups",),
    ),
    "embedded": Helper(
        '''
def embedded(k, form, to):
    """Entries of equal pixels among zeros, along the axes that are D in `form` and not in `to`."""
    for i, (before, after) in enumerate(zip(form, to)):
        if before != after:
            a = groups(to[:i] + form[i:])[i][0]
            step = 1 if after == "F" else int(after)
            count = k.shape[a] // step
            k = jnp.moveaxis(k.reshape(*k.shape[:a], count, step, *k.shape[a + 1 :]), a + 1, a)
            eye = jnp.eye(count, dtype=k.dtype).reshape((count,) * 2 + (1,) * (k.ndim - a - 2))
            k = jnp.expand_dims(k, a + 2) * eye
            k = jnp.squeeze(k, a) if after == "F" else k
    return k
''',
        ("groups",),
    ),
    "sides": Helper('''
def sides(v, form, is_left):
    """One value a pixel (and sample), for the first or the second pixel of each entry of a form."""
    for i, f in list(enumerate(form))[::-1]:
        count = v.shape[i]
        step = count if f == "D" else 1 if f == "F" else int(f)
        if f not in "DF":
            v = jnp.moveaxis(v.reshape(*v.shape[:i], count // step, step, *v.shape[i + 1 :]), i + 1, i)
        if f != "D":
            v = jnp.expand_dims(v, i + (f != "F") + (1 if is_left else 0))
    return v
'''),
    "left": Helper(
        '''
def left(v, form):
    """One value a pixel (and sample), for the first pixel of each entry of a form."""
    return sides(v, form, True)
''',
        ("sides",),
    ),
    "right": Helper(
        '''
def right(v, form):
    """One value a pixel (and sample), for the second pixel of each entry of a form."""
    return sides(v, form, False)
''',
        ("sides",),
    ),
    "left_terms": Helper(
        '''
def left_terms(h, form):
    """The same for terms of a series, on the first axes."""
    of_term = lambda v: left(v, form)
    for _ in range(h.ndim - len(form) - 1):
        of_term = jax.vmap(of_term)
    return of_term(h)
''',
        ("left",),
    ),
    "right_terms": Helper(
        '''
def right_terms(h, form):
    """The same for terms of a series, on the first axes."""
    of_term = lambda v: right(v, form)
    for _ in range(h.ndim - len(form) - 1):
        of_term = jax.vmap(of_term)
    return of_term(h)
''',
        ("right",),
    ),
    "of_pixels": Helper('''
def of_pixels(function, *given):
    """function(..., v), made for a list of samples, of pixels and samples: v [pixels ..., n], or terms of them."""
    *first, v = given
    is_series = function.__name__ == "chunks_needed"
    shape = v.shape[1:] if is_series else v.shape
    made = function(*first, v.reshape(len(v), -1) if is_series else v.reshape(-1))
    return made.reshape(*made.shape[:-1], *shape)
'''),
    "same_pixels": Helper('''
def same_pixels(form, sizes):
    """1 where both pixels of an entry are the same, 0 elsewhere; a last axis of one for each axis of samples."""
    same = jnp.ones((1, 1))
    for f, n in list(zip(form, sizes))[::-1]:
        step = n if f == "D" else 1 if f == "F" else int(f)
        eye = jnp.ones((step, 1, 1)) * jnp.eye(n // step)
        eye = eye[0] if f == "F" else eye[:, 0, 0] if f == "D" else eye
        same = eye.reshape(eye.shape + (1,) * same.ndim) * same
    return same
'''),
    "positions": Helper('''
def positions(form, sizes, power, decay):
    """decay(sum_i |p_i - p_i'|^power) of each entry of a form; a last axis of one for each axis of samples."""
    distance = jnp.zeros((1, 1))
    for f, n in list(zip(form, sizes))[::-1]:
        i = jnp.arange(n, dtype=distance.dtype)
        apart = jnp.abs(i[:, None] - i) ** power if f == "F" else 0 * i
        distance = apart.reshape(apart.shape + (1,) * distance.ndim) + distance
    return jnp.broadcast_to(decay(distance), distance.shape)
'''),
    "softmax_of_keys": Helper('''
def softmax_of_keys(a):
    """Softmax over the second pixel of all pairs [p, p', ..., samples]."""
    return jax.nn.softmax(a, tuple(range(1, a.ndim, 2)))
'''),
    "between": Helper('''
def between(s1, k, s2):
    """sum_a sum_b s1[p, a] k[a, b] s2[p', b] of all pairs of pixels; s1, s2 [..., n], k [..., n1, n2] or [..., n]."""
    count = s1.ndim // 2
    a, b, c, d = (letters[:count] for letters in ("abcde", "fghij", "klmno", "pqrst"))
    first, second, third, made = ("".join(x + y for x, y in zip(*pair)) for pair in ((a, b), (b, c), (d, c), (a, d)))
    n1, n2 = ("y", "z") if k.ndim > s1.ndim else ("y", "y")
    lanes = n1 + n2 if k.ndim > s1.ndim else n1
    spec = f"{first}{n1},{second}{lanes},{third}{n2}->{made}{lanes}"
    return jnp.einsum(spec, s1, k, s2, precision=lax.Precision.HIGHEST)
'''),
    "gathered": Helper('''
def gathered(first, k, second, form, to, axes):
    """sum_a sum_b first[a, p] k[a, b] second[b, p'] over some spatial axes; first, second [a ..., p ..., samples]."""
    read, made = "", ""
    for i, (f, t) in enumerate(zip(form, to)):
        a, p, r = "abcdefgh"[i], "ijklmnop"[i], "qrstuvwx"[i]
        whole = {"D": a, "F": a + a.upper()}.get(f, r + a + a.upper())
        read += whole
        made += whole if i not in axes else p + p.upper() if t == "F" else p
    tails, heads = ("".join(letters[i] for i in axes) for letters in ("abcdefgh", "ijklmnop"))
    others = "".join(p.upper() if to[i] == "F" else p for i, p in zip(axes, heads))
    lanes = "yz" if k.ndim > len(read) + 1 else "y"
    spec = f"{tails}{heads}y,{read}{lanes},{tails.upper()}{others}{lanes[-1]}->{made}{lanes}"
    return jnp.einsum(spec, first, k, second, precision=lax.Precision.HIGHEST)
'''),
    "adjacency": Helper('''
def adjacency(edges, sizes, dtype):
    """[n, tails ..., heads ...]: how often an edge stands in [n, edges, axes, 2], tails and heads; negative is none."""
    places, count = 0, 1
    for i, size in enumerate(sizes):
        places, count = places * size + edges[:, :, i], count * size
    is_edge = jnp.all(edges >= 0, (2, 3))
    tails, heads = (jnp.where(is_edge, places[..., side], 0) for side in (0, 1))
    samples = jnp.arange(len(edges))[:, None]
    made = jnp.zeros((len(edges), count, count), dtype).at[samples, tails, heads].add(is_edge.astype(dtype))
    return made.reshape(len(edges), *sizes, *sizes)
'''),
    "inner": Helper('''
def inner(a, b, form):
    """Sum of a b over all pairs of pixels, with axes of one for each entry of a form."""
    axes = tuple(range(2 * len(form)))
    total = jnp.sum(a * b, axes)
    return total.reshape((1,) * (len(form) + form.count("F")) + total.shape)
'''),
    "present": Helper('''
def present(x):
    """1 for pixels with a channel that is a number, 0 for masked ones: [pixels ..., samples]."""
    return jnp.moveaxis(1 - jnp.all(jnp.isnan(x), -1).astype(x.dtype), 0, -1)
'''),
    "cleaned": Helper('''
def cleaned(x):
    """Data with 0 for what is masked."""
    return jnp.where(jnp.isnan(x), 0, x)
'''),
    "products": Helper('''
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def products(x1, x2, form, is_within=False):
    """x1[p] . x2[p'] / channels for the entries of a form, of all pairs of samples, or of each with itself."""
    if not form.strip("D") and not is_within and x1.shape[-1] <= 16:
        x1, x2 = (jnp.moveaxis(x, 0, -2) for x in (x1, x2))
        return sum(x1[..., :, None, c] * x2[..., None, :, c] for c in range(x1.shape[-1])) / x1.shape[-1]
    first = second = pixels = ""
    for i, f in list(enumerate(form))[::-1]:
        a, b, r = LETTERS[i], LETTERS[8 + i], LETTERS[16 + i]
        if f not in "DF":
            x1, x2 = (x.reshape(*x.shape[: i + 1], -1, int(f), *x.shape[i + 2 :]) for x in (x1, x2))
        one, two, both = {"D": (a, a, a), "F": (a, b, a + b)}.get(f, (a + r, b + r, r + a + b))
        first, second, pixels = one + first, two + second, both + pixels
    samples = "yy" if is_within else "yz"
    spec = f"y{first}x,{samples[1]}{second}x->{pixels}{'y' if is_within else samples}"
    return jnp.einsum(spec, x1, x2, precision=lax.Precision.HIGHEST) / x1.shape[-1]
'''),
}
"""Name -> text; see `prelude.HELPERS`."""
