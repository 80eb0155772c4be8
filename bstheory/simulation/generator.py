"""Random numbers inside the kernels: xoshiro128++ on 16 lanes, seeded by SplitMix64, with in-kernel normals.

A *stream* is 16 independent xoshiro128++ states, ``uint32 [4, 16]``, a pure function of ``(seed, stream)``.
Row k of noise is drawn lane by lane, so the noise of a seed depends on neither the number of threads, the
length of a chunk nor the configurations simulated beside it. A row of d numbers consumes ``padded(d)`` draws.

Normals come from Box-Muller with polynomials for the logarithm, sine and cosine, so that LLVM vectorizes the
loop. float32 uses 31-bit uniforms (largest normal 6.66), float64 uses 53-bit uniforms (largest 8.57): the
tail beyond is absent, so statements about extreme quantiles need another generator.

Reference: Blackman and Vigna 2021, "Scrambled linear pseudorandom number generators" (xoshiro128++); Steele,
Lea and Flood 2014 (SplitMix64).
"""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

from bstheory.simulation.kernel_cache import discard_stale

discard_stale(Path(__file__).resolve().parent)  # before the first kernel is looked up

LANES = 16
BLOCK = 2 * LANES  # Box-Muller yields two normals per lane

_U32 = np.uint32
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


def padded(dim: int) -> int:
    """Smallest multiple of 32 that is at least ``dim``: the length of one row of noise."""
    return -(-dim // BLOCK) * BLOCK


@intrinsic
def _float32_bits(typingctx, value):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(types.int32))

    return types.int32(types.float32), codegen


@intrinsic
def _bits_float32(typingctx, value):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(types.float32))

    return types.float32(types.int32), codegen


@intrinsic
def _float64_bits(typingctx, value):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(types.int64))

    return types.int64(types.float64), codegen


@intrinsic
def _bits_float64(typingctx, value):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(types.float64))

    return types.float64(types.int64), codegen


@numba.njit(cache=True, nogil=True)
def splitmix64(counter):
    """Output of SplitMix64 whose state has just become ``counter`` (uint64 -> uint64)."""
    z = np.uint64(counter)
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return z ^ (z >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def seed_stream(state, seed, stream):
    """Fill ``state`` (uint32 [4, 16]) as a pure function of ``(seed, stream)``."""
    counter = splitmix64(splitmix64(np.uint64(seed) + _GOLDEN) + np.uint64(stream) * _GOLDEN + _GOLDEN)
    for lane in range(LANES):
        for half in range(2):
            counter += _GOLDEN
            word = splitmix64(counter)
            state[2 * half, lane] = _U32(word & np.uint64(0xFFFFFFFF))
            state[2 * half + 1, lane] = _U32(word >> np.uint64(32))


@numba.njit(cache=True, nogil=True, inline="always")
def _next(s0, s1, s2, s3):
    """One xoshiro128++ step: (output, new state)."""
    total = _U32(s0 + s3)
    out = _U32(_U32((total << _U32(7)) | (total >> _U32(25))) + s0)
    t = _U32(s1 << _U32(9))
    s2 = _U32(s2 ^ s0)
    s3 = _U32(s3 ^ s1)
    s1 = _U32(s1 ^ s2)
    s0 = _U32(s0 ^ s3)
    s2 = _U32(s2 ^ t)
    s3 = _U32((s3 << _U32(11)) | (s3 >> _U32(21)))
    return out, s0, s1, s2, s3


@numba.njit(cache=True, nogil=True)
def fill_words(state, out):
    """Raw uint32 outputs, ``out`` of a length that is a multiple of 16, lane-interleaved."""
    for start in range(0, out.shape[0], LANES):
        for j in range(LANES):
            word, a, b, c, d = _next(state[0, j], state[1, j], state[2, j], state[3, j])
            state[0, j] = a
            state[1, j] = b
            state[2, j] = c
            state[3, j] = d
            out[start + j] = word


@numba.njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def fill_normal32(state, out):
    """Standard normals, float32; ``len(out)`` is a multiple of 32."""
    f = np.float32
    fill_words(state, out.view(np.uint32))
    half = out.shape[0] // 2
    first, second = out[:half], out[half:]
    for j in range(half):  # in place: the words at j become the normals at j; bit casts, not views, so that
        # the vectorizer sees two arrays that do not overlap
        w1, w2 = _U32(_float32_bits(first[j])), _U32(_float32_bits(second[j]))
        # radius sqrt(-2 ln u), u in (0, 1]: u = mantissa * 2^exponent with mantissa in [0.70, 1.41)
        u = (f(np.int32(w1 >> _U32(1))) + f(0.5)) * f(2.0**-31)
        bits = _float32_bits(u)
        exponent = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))
        mantissa = _bits_float32(np.int32(bits - np.int32(exponent << np.int32(23))))
        s = (mantissa - f(1.0)) / (mantissa + f(1.0))
        q = s * s
        series = f(1.0) + q * (f(1 / 3) + q * (f(1 / 5) + q * (f(1 / 7) + q * f(1 / 9))))
        log_u = f(0.6931471805599453) * f(exponent) + f(2.0) * s * series
        square = f(-2.0) * log_u
        radius = np.sqrt(square if square > f(0.0) else f(0.0))
        # angle: 30 bits in [-pi/4, pi/4), two bits choose the quadrant
        t = f(np.int32(w2 << _U32(2))) * f(2.0**-31 * np.pi / 4)
        q = t * t
        sine = t * (f(1.0) + q * (f(-1 / 6) + q * (f(1 / 120) + q * (f(-1 / 5040) + q * f(1 / 362880)))))
        cosine = f(1.0) + q * (f(-1 / 2) + q * (f(1 / 24) + q * (f(-1 / 720) + q * f(1 / 40320))))
        swap = np.int32(w2) < np.int32(0)
        sign = f(1.0) - f(np.int32((w2 >> _U32(29)) & _U32(2)))
        first[j] = radius * sign * (sine if swap else cosine)
        second[j] = radius * sign * (-cosine if swap else sine)


@numba.njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def fill_normal64(state, out):
    """Standard normals, float64 from 53-bit uniforms; ``len(out)`` is a multiple of 32."""
    fill_words(state, out.view(np.uint32))
    half = out.shape[0] // 2
    first, second = out[:half], out[half:]
    low = np.uint64(0xFFFFFFFF)
    for j in range(half):  # in place, as above
        w1, w2 = np.uint64(_float64_bits(first[j])), np.uint64(_float64_bits(second[j]))
        high26 = np.float64(np.int32(_U32((w1 & low) >> np.uint64(6))))
        low27 = np.float64(np.int32(_U32(w1 >> np.uint64(37))))
        u = (high26 * 134217728.0 + low27 + 0.5) * 2.0**-53
        bits = _float64_bits(u)
        # biased exponent of u / sqrt(1/2), kept non-negative so that the shift is logical and vectorizes
        shifted = (bits - np.int64(0x3FE6A09E667F3BCD) + np.int64(1023 << 52)) >> np.int64(52)
        exponent = np.float64(np.int32(shifted)) - 1023.0
        mantissa = _bits_float64(bits - ((shifted - np.int64(1023)) << np.int64(52)))
        s = (mantissa - 1.0) / (mantissa + 1.0)
        q = s * s
        series = 1 / 19 + q * (1 / 21 + q * (1 / 23))
        series = 1 / 13 + q * (1 / 15 + q * (1 / 17 + q * series))
        series = 1 / 7 + q * (1 / 9 + q * (1 / 11 + q * series))
        series = 1.0 + q * (1 / 3 + q * (1 / 5 + q * series))
        square = -2.0 * (0.6931471805599453 * exponent + 2.0 * s * series)
        radius = np.sqrt(square if square > 0.0 else 0.0)
        # the same quadrant scheme with 30 + 22 bits of angle
        angle = _U32(w2 & low)
        coarse = np.float64(np.int32(angle << _U32(2)))
        fine = np.float64(np.int32(_U32(w2 >> np.uint64(42)))) * 2.0**-20
        t = (coarse + fine) * (2.0**-31 * np.pi / 4)
        q = t * t
        sine = 1 / 39916800 + q * (-1 / 6227020800 + q * (1 / 1307674368000))
        sine = -1 / 6 + q * (1 / 120 + q * (-1 / 5040 + q * (1 / 362880 - q * sine)))
        sine = t * (1.0 + q * sine)
        cosine = -1 / 3628800 + q * (1 / 479001600 + q * (-1 / 87178291200 + q / 20922789888000))
        cosine = -1 / 2 + q * (1 / 24 + q * (-1 / 720 + q * (1 / 40320 + q * cosine)))
        cosine = 1.0 + q * cosine
        swap = np.int32(angle) < np.int32(0)
        sign = 1.0 - np.float64(np.int32((angle >> _U32(29)) & _U32(2)))
        first[j] = radius * sign * (sine if swap else cosine)
        second[j] = radius * sign * (-cosine if swap else sine)


@numba.njit(cache=True, nogil=True)
def fill_signs(state, out):
    """Fair signs +1 or -1 in the dtype of ``out``; ``len(out)`` is a multiple of 16."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    for start in range(0, out.shape[0], LANES):
        for j in range(LANES):
            word, a, b, c, d = _next(s0[j], s1[j], s2[j], s3[j])
            s0[j] = a
            s1[j] = b
            s2[j] = c
            s3[j] = d
            out[start + j] = 1 - np.int32((word >> _U32(30)) & _U32(2))
