"""Eight float32 lanes as a value inside numba code.

Numba's loops reach the vector units only when LLVM's loop vectoriser likes them, which changes
with trip counts and versions. A splat's row is seven or eight pixels wide, exactly one vector, so
the raster kernels name the vectors themselves. LLVM lowers `<8 x float>` on every CPU (one AVX
register, two of SSE or NEON); nothing here is specific to a machine.

Arrays passed to `load` and `store` are flat float32; indices are not checked.
"""

import operator

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

LANES = 8
_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_VEC = ir.VectorType(_F32, LANES)
_INT = ir.VectorType(_I32, LANES)


class Float8(types.Type):
    """Numba type of eight float32 lanes."""

    def __init__(self):
        super().__init__(name="float32x8")


float8 = Float8()


@register_model(Float8)
class _Float8Model(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _VEC)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_VEC, [ir.Constant(_F32, float(np.float32(value)))] * LANES)


def _int_constant(value: int) -> ir.Constant:
    return ir.Constant(_INT, [ir.Constant(_I32, value)] * LANES)


def _binary(op, emit: str) -> None:
    """Give `float8 op float8` its LLVM instruction."""
    cases = [signature(float8, float8, float8)]
    infer_global(op)(type(f"Float8_{emit}", (ConcreteTemplate,), {"cases": cases}))

    @lower_builtin(op, float8, float8)
    def lower(context, builder, sig, args):
        return getattr(builder, emit)(*args)


for _op, _emit in [
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
]:
    _binary(_op, _emit)


def _call(builder, name: str, returns: ir.Type, args: list) -> ir.Value:
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(returns, [a.type for a in args]), name
    )
    return builder.call(function, args)


def _fma(builder, a, b, c) -> ir.Value:
    return _call(builder, "llvm.fmuladd.v8f32", _VEC, [a, b, c])


def _address(context, builder, array_type, array, index) -> ir.Value:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VEC.as_pointer())


@intrinsic
def load(typingctx, array, index):
    """Lanes `array[index : index + 8]`."""

    def codegen(context, builder, sig, args):
        return builder.load(_address(context, builder, sig.args[0], *args), align=4)

    return float8(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write the lanes to `array[index : index + 8]`."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], _address(context, builder, sig.args[0], *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, float8), codegen


@intrinsic
def fill(typingctx, value):
    """All lanes equal to a scalar (converted to float32)."""

    def codegen(context, builder, sig, args):
        vector = builder.insert_element(ir.Constant(_VEC, ir.Undefined), args[0], _I32(0))
        return builder.shuffle_vector(
            vector, ir.Constant(_VEC, ir.Undefined), ir.Constant(_INT, [0] * LANES)
        )

    return float8(types.float32), codegen


@intrinsic
def lane_numbers(typingctx):
    """0, 1, .. 7."""

    def codegen(context, builder, sig, args):
        return ir.Constant(_VEC, [ir.Constant(_F32, float(i)) for i in range(LANES)])

    return float8(), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """`a * b + c`, fused where the machine fuses cheaply."""

    def codegen(context, builder, sig, args):
        return _fma(builder, *args)

    return float8(float8, float8, float8), codegen


@intrinsic
def minimum(typingctx, a, b):
    """Lane-wise smaller value."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return float8(float8, float8), codegen


@intrinsic
def maximum(typingctx, a, b):
    """Lane-wise larger value."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return float8(float8, float8), codegen


@intrinsic
def where_ge(typingctx, a, b, yes, no):
    """`yes` in the lanes where a >= b, else `no` (also where either is NaN)."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">=", args[0], args[1]), args[2], args[3])

    return float8(float8, float8, float8, float8), codegen


# 2^f on [-1/2, 1/2]: interpolation at Chebyshev nodes, degree 6, relative error 2e-8.
_NODES = 0.5 * np.cos((np.arange(7) + 0.5) * np.pi / 7)
_EXP2 = np.polynomial.polynomial.polyfit(_NODES, 2.0**_NODES, 6)
_ROUND = 1.5 * 2.0**23  # adding it leaves round(x) in the low mantissa bits


@intrinsic
def exp2(typingctx, x):
    """2^x for |x| < 126, relative error 1.2e-7; finite or NaN garbage elsewhere.

    x = n + f with n the nearest integer: a polynomial for 2^f, n added to the exponent bits.
    """

    def codegen(context, builder, sig, args):
        shifted = builder.fadd(args[0], _constant(_ROUND))
        f = builder.fsub(args[0], builder.fsub(shifted, _constant(_ROUND)))
        p = _constant(_EXP2[-1])
        for coefficient in _EXP2[-2::-1]:
            p = _fma(builder, p, f, _constant(coefficient))
        n = builder.shl(builder.bitcast(shifted, _INT), _int_constant(23))
        return builder.bitcast(builder.add(builder.bitcast(p, _INT), n), _VEC)

    return float8(float8), codegen


def _halve(builder, vector, width: int, emit) -> ir.Value:
    """Fold the upper half of the first `width` lanes onto the lower half."""
    lanes = [width // 2 + i if i < width // 2 else i for i in range(LANES)]
    moved = builder.shuffle_vector(vector, vector, ir.Constant(_INT, lanes))
    return emit(vector, moved)


@intrinsic
def sum_lanes(typingctx, a):
    """Sum of the lanes, always by the same tree."""

    def codegen(context, builder, sig, args):
        vector = args[0]
        for width in (8, 4, 2):
            vector = _halve(builder, vector, width, builder.fadd)
        return builder.extract_element(vector, _I32(0))

    return types.float32(float8), codegen


@intrinsic
def sum_eight(typingctx, a, b, c, d, e, f, g, h):
    """Lane i of the result is the sum of the lanes of argument i: a transpose and add tree."""

    def codegen(context, builder, sig, args):
        def fold(x, y, low):
            first = ir.Constant(_INT, [*low, *(8 + i for i in low)])
            high = [i for i in range(LANES) if i not in low]
            second = ir.Constant(_INT, [*high, *(8 + i for i in high)])
            return builder.fadd(
                builder.shuffle_vector(x, y, first), builder.shuffle_vector(x, y, second)
            )

        vectors = list(args)
        for low in ([0, 1, 2, 3], [0, 1, 4, 5], [0, 2, 4, 6]):
            vectors = [fold(vectors[i], vectors[i + 1], low) for i in range(0, len(vectors), 2)]
        return vectors[0]

    return float8(*[float8] * 8), codegen


@intrinsic
def max_lanes(typingctx, a):
    """Largest lane."""

    def codegen(context, builder, sig, args):
        def larger(a, b):
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        vector = args[0]
        for width in (8, 4, 2):
            vector = _halve(builder, vector, width, larger)
        return builder.extract_element(vector, _I32(0))

    return types.float32(float8), codegen
