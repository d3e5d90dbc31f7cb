/* tests/emulator/include/coc_emulated_math.h - functions and intrinsics of the device. What the
 * special-function unit approximates is here as exact as the C library; operations with a rounding
 * in their name are never contracted. No atomics on floating-point numbers: none are to be used. */
#ifndef COC_EMULATED_MATH_H
#define COC_EMULATED_MATH_H

#include <cstdint>
#include <cstring>
#include <math.h>

template <typename To, typename From> inline To coc_emulator_bits(From value)
{
    static_assert(sizeof(To) == sizeof(From), "bits are kept");
    To same;

    memcpy(&same, &value, sizeof same);
    return same;
}

inline int __float_as_int(float x)
{
    return coc_emulator_bits<int>(x);
}
inline unsigned __float_as_uint(float x)
{
    return coc_emulator_bits<unsigned>(x);
}
inline float __int_as_float(int x)
{
    return coc_emulator_bits<float>(x);
}
inline float __uint_as_float(unsigned x)
{
    return coc_emulator_bits<float>(x);
}
inline long long __double_as_longlong(double x)
{
    return coc_emulator_bits<long long>(x);
}
inline double __longlong_as_double(long long x)
{
    return coc_emulator_bits<double>(x);
}

/* ---- rounded once each: volatile keeps the compiler from joining them with others */

#define COC_ROUNDED(name, type, expression)                                                        \
    inline type name(type a, type b)                                                               \
    {                                                                                              \
        volatile type rounded = expression;                                                        \
        return rounded;                                                                            \
    }

COC_ROUNDED(__fadd_rn, float, a + b)
COC_ROUNDED(__fsub_rn, float, a - b)
COC_ROUNDED(__fmul_rn, float, a *b)
COC_ROUNDED(__fdiv_rn, float, a / b)
COC_ROUNDED(__dadd_rn, double, a + b)
COC_ROUNDED(__dsub_rn, double, a - b)
COC_ROUNDED(__dmul_rn, double, a *b)
COC_ROUNDED(__ddiv_rn, double, a / b)
#undef COC_ROUNDED

inline float __fmaf_rn(float a, float b, float c)
{
    return fmaf(a, b, c);
}
inline double __fma_rn(double a, double b, double c)
{
    return fma(a, b, c);
}
inline float __frcp_rn(float x)
{
    return 1.0f / x;
}
inline float __fsqrt_rn(float x)
{
    return sqrtf(x);
}
inline float __frsqrt_rn(float x)
{
    return (float)(1.0 / sqrt((double)x));
}
inline double __dsqrt_rn(double x)
{
    return sqrt(x);
}

inline float __int2float_rn(int x)
{
    return (float)x;
}
inline float __uint2float_rn(unsigned x)
{
    return (float)x;
}
inline float __double2float_rn(double x)
{
    return (float)x;
}
inline int __float2int_rn(float x)
{
    return (int)rintf(x);
}
inline int __float2int_rz(float x)
{
    return (int)x;
}
inline int __float2int_rd(float x)
{
    return (int)floorf(x);
}
inline int __float2int_ru(float x)
{
    return (int)ceilf(x);
}

/* ---- functions that the C library lacks, or has under these names for itself: hence macros */

#define __expf      coc_emulator_expf
#define __exp10f    coc_emulator_exp10f
#define __logf      coc_emulator_logf
#define __log2f     coc_emulator_log2f
#define __log10f    coc_emulator_log10f
#define __powf      coc_emulator_powf
#define __sinf      coc_emulator_sinf
#define __cosf      coc_emulator_cosf
#define __sincosf   coc_emulator_sincosf
#define __tanhf     coc_emulator_tanhf
#define rsqrtf      coc_emulator_rsqrtf
#define rsqrt       coc_emulator_rsqrt
#define sinpif      coc_emulator_sinpif
#define cospif      coc_emulator_cospif
#define sincospif   coc_emulator_sincospif
#define __fdividef  coc_emulator_fdividef
#define fdividef    coc_emulator_fdividef
#define __saturatef coc_emulator_saturatef

inline float coc_emulator_expf(float x)
{
    return expf(x);
}
inline float coc_emulator_exp10f(float x)
{
    return powf(10.0f, x);
}
inline float coc_emulator_logf(float x)
{
    return logf(x);
}
inline float coc_emulator_log2f(float x)
{
    return log2f(x);
}
inline float coc_emulator_log10f(float x)
{
    return log10f(x);
}
inline float coc_emulator_powf(float x, float y)
{
    return powf(x, y);
}
inline float coc_emulator_sinf(float x)
{
    return sinf(x);
}
inline float coc_emulator_cosf(float x)
{
    return cosf(x);
}
inline void coc_emulator_sincosf(float x, float *sine, float *cosine)
{
    *sine = sinf(x);
    *cosine = cosf(x);
}
inline float coc_emulator_tanhf(float x)
{
    return tanhf(x);
}
inline float coc_emulator_rsqrtf(float x)
{
    return __frsqrt_rn(x);
}
inline double coc_emulator_rsqrt(double x)
{
    return 1.0 / sqrt(x);
}
/* The argument is reduced exactly first, as on the device. */
inline float coc_emulator_sinpif(float x)
{
    return (float)sin(3.14159265358979323846 * fmod((double)x, 2.0));
}
inline float coc_emulator_cospif(float x)
{
    return (float)cos(3.14159265358979323846 * fmod((double)x, 2.0));
}
inline void coc_emulator_sincospif(float x, float *sine, float *cosine)
{
    *sine = coc_emulator_sinpif(x);
    *cosine = coc_emulator_cospif(x);
}
/* The device's result for 2^126 < b is 0 (or NaN): nothing may rely on large divisors. */
inline float coc_emulator_fdividef(float a, float b)
{
    return fabsf(b) > 0x1p126f ? (isinf(a) ? NAN : 0.0f) : a / b;
}
inline float coc_emulator_saturatef(float x)
{
    return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; /* NaN gives 0 */
}

/* ---- whole numbers */

inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
inline int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}
inline int __clz(int x)
{
    return x == 0 ? 32 : __builtin_clz((unsigned)x);
}
inline int __clzll(long long x)
{
    return x == 0 ? 64 : __builtin_clzll((unsigned long long)x);
}
inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
inline int __ffsll(long long x)
{
    return __builtin_ffsll(x);
}
inline unsigned __brev(unsigned x)
{
    unsigned reversed = 0;

    for (int i = 0; i < 32; i++)
        reversed |= (x >> i & 1) << (31 - i);
    return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((unsigned long long)a * b >> 32);
}
inline int __mulhi(int a, int b)
{
    return (int)((long long)a * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    __extension__ typedef unsigned __int128 wide;

    return (unsigned long long)((wide)a * b >> 64);
}
/* The upper (lower) word of high:low moved left (right). */
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift)
{
    return (unsigned)((((unsigned long long)high << 32 | low) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift)
{
    return (unsigned)(((unsigned long long)high << 32 | low) >> (shift & 31));
}
/* Each hexadecimal digit of the selector picks one of the eight bytes of b:a. */
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector)
{
    const unsigned long long bytes = (unsigned long long)b << 32 | a;
    unsigned picked = 0;

    for (int i = 0; i < 4; i++)
        picked |= (unsigned)(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
    return picked;
}

#define COC_ORDER(type)                                                                            \
    inline type min(type a, type b)                                                                \
    {                                                                                              \
        return b < a ? b : a;                                                                      \
    }                                                                                              \
    inline type max(type a, type b)                                                                \
    {                                                                                              \
        return a < b ? b : a;                                                                      \
    }

COC_ORDER(int)
COC_ORDER(unsigned)
COC_ORDER(long)
COC_ORDER(unsigned long)
COC_ORDER(long long)
COC_ORDER(unsigned long long)
#undef COC_ORDER

inline float min(float a, float b)
{
    return fminf(a, b);
}
inline float max(float a, float b)
{
    return fmaxf(a, b);
}
inline double min(double a, double b)
{
    return fmin(a, b);
}
inline double max(double a, double b)
{
    return fmax(a, b);
}

/* ---- loads and stores with a hint for the caches */

#define COC_HINTED_LOAD(name)                                                                      \
    template <typename T> inline T name(const T *p)                                                \
    {                                                                                              \
        return *p;                                                                                 \
    }
#define COC_HINTED_STORE(name)                                                                     \
    template <typename T> inline void name(T *p, T value)                                          \
    {                                                                                              \
        *p = value;                                                                                \
    }

COC_HINTED_LOAD(__ldg)
COC_HINTED_LOAD(__ldca)
COC_HINTED_LOAD(__ldcg)
COC_HINTED_LOAD(__ldcs)
COC_HINTED_LOAD(__ldcv)
COC_HINTED_STORE(__stcg)
COC_HINTED_STORE(__stcs)
COC_HINTED_STORE(__stwb)
COC_HINTED_STORE(__stwt)
#undef COC_HINTED_LOAD
#undef COC_HINTED_STORE

/* ---- atomics: threads change places elsewhere, so plain operations will do */

#define COC_ATOMIC(name, type, next)                                                               \
    inline type name(type *p, type value)                                                          \
    {                                                                                              \
        const type old = *p;                                                                       \
                                                                                                   \
        *p = next;                                                                                 \
        return old;                                                                                \
    }
#define COC_ATOMICS(type)                                                                          \
    COC_ATOMIC(atomicExch, type, value)                                                            \
    COC_ATOMIC(atomicMin, type, value < old ? value : old)                                         \
    COC_ATOMIC(atomicMax, type, old < value ? value : old)                                         \
    COC_ATOMIC(atomicAnd, type, old &value)                                                        \
    COC_ATOMIC(atomicOr, type, old | value)                                                        \
    COC_ATOMIC(atomicXor, type, old ^ value)                                                       \
    inline type atomicCAS(type *p, type expected, type value)                                      \
    {                                                                                              \
        const type old = *p;                                                                       \
                                                                                                   \
        if (old == expected) *p = value;                                                           \
        return old;                                                                                \
    }

COC_ATOMICS(int)
COC_ATOMICS(unsigned)
COC_ATOMICS(unsigned long long)
COC_ATOMIC(atomicAdd, int, (int)((unsigned)old + (unsigned)value))
COC_ATOMIC(atomicAdd, unsigned, old + value)
COC_ATOMIC(atomicAdd, unsigned long long, old + value)
#undef COC_ATOMICS
#undef COC_ATOMIC

#endif
