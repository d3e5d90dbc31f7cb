/* tests/emulator/test_emulator.cpp - does the emulator compute, and does it catch what it is for?
 *
 * Kernels that are right must be right in every order; such as lack a barrier or a wait must be
 * wrong, or end the program. Exit code 0: all is as it must be. The functions of the runtime:
 * test_runtime.cpp.
 */
#include <cmath>
#include <cstdlib>

#include <coc_emulated_mma.h>
#include <cuda_bf16.h>

#include "test_emulator.h"

namespace
{

/* ---- barriers -------------------------------------------------------------------------------- */

template <bool with_barrier> __global__ void shift(const int *x, int *y)
{
    __shared__ int staged[128];
    const int t = (int)threadIdx.x;

    staged[t] = -1;
    __syncthreads();
    staged[t] = x[t];
    if (with_barrier) __syncthreads();
    y[t] = staged[(t + 127) % 128];
}

void test_barriers()
{
    device_array<int> x(128), y(128);
    int right_without = 0;

    for (int i = 0; i < 128; i++)
        x.host[i] = i;
    for (const char *order : orders) {
        set_order(order);
        LAUNCH(shift<true>, 1, 128, 0, x.send(), y.at);
        y.receive();
        for (int i = 0; i < 128; i++)
            CHECK(y.host[i] == (i + 127) % 128);
        LAUNCH(shift<false>, 1, 128, 0, x.send(), y.at);
        y.receive();
        bool right = true;
        for (int i = 1; i < 128; i++) /* thread 0 reads what the last one writes */
            right = right && y.host[i] == i - 1;
        right_without += right;
        if (std::string(order) == "forward") CHECK(right);
    }
    CHECK(right_without == 1); /* by luck of the order, in one of three */
}

__global__ void votes_of_block(int *out)
{
    const int t = (int)threadIdx.x;

    out[t] = __syncthreads_count(t % 3 == 0) + 1000 * __syncthreads_or(t == 77) +
             10000 * __syncthreads_and(t != 77) + 100000 * __syncthreads_and(t >= 0);
}

__global__ void some_leave(int *out)
{
    __shared__ int sum[96];
    const int t = (int)threadIdx.x;

    if (t % 2 != 0) return;
    sum[t] = t;
    __syncthreads();
    if (t >= 48) return;
    __syncthreads();
    out[t] = sum[94 - t];
}

void test_barriers_of_some()
{
    device_array<int> out(96);

    for (const char *order : orders) {
        set_order(order);
        LAUNCH(votes_of_block, 2, 96, 0, out.at);
        out.receive();
        for (int i = 0; i < 96; i++)
            CHECK(out.host[i] == 32 + 1000 + 100000);
        LAUNCH(some_leave, 1, 96, 0, out.at);
        out.receive();
        for (int i = 0; i < 48; i += 2)
            CHECK(out.host[i] == 94 - i);
    }
}

/* ---- warps ----------------------------------------------------------------------------------- */

template <typename T> __global__ void shuffles(T *out, int *right)
{
    const int t = (int)threadIdx.x, lane = t % 32, base = t - lane;
    const T mine = (T)(t * 3 + 1);
    const auto of = [&](int l) { return (T)((base + l) * 3 + 1); };
    bool fine = __shfl_sync(0xffffffffu, mine, 5) == of(5);
    T sum = mine;

    fine = fine && __shfl_sync(~0u, mine, lane + 1, 8) == of((lane & ~7) + (lane + 1) % 8);
    fine = fine && __shfl_up_sync(~0u, mine, 3) == of(lane < 3 ? lane : lane - 3);
    fine = fine && __shfl_down_sync(~0u, mine, 3) == of(lane > 28 ? lane : lane + 3);
    fine = fine && __shfl_down_sync(~0u, mine, 1, 4) == of(lane % 4 == 3 ? lane : lane + 1);
    fine = fine && __shfl_up_sync(~0u, mine, 1, 4) == of(lane % 4 == 0 ? lane : lane - 1);
    for (int i = 16; i > 0; i /= 2)
        sum += __shfl_xor_sync(~0u, sum, i);
    out[t] = sum;
    right[t] = fine;
}

template <typename T> void check_shuffles()
{
    device_array<T> out(64);
    device_array<int> right(64);

    for (const char *order : orders) {
        set_order(order);
        LAUNCH(shuffles<T>, 1, 64, 0, out.at, right.at);
        out.receive(), right.receive();
        for (int i = 0; i < 64; i++) {
            CHECK(right.host[i] == 1);
            CHECK(out.host[i] == (T)(i < 32 ? 3 * 496 + 32 : 3 * (496 + 1024) + 32));
        }
    }
}

__global__ void votes_of_warp(unsigned *out)
{
    const unsigned lane = threadIdx.x % 32, half = lane < 16 ? 0xffffu : 0xffff0000u;

    out[threadIdx.x] = __ballot_sync(~0u, lane % 2 == 0);
    out[threadIdx.x] ^= 0x55555555u;
    out[threadIdx.x] += (unsigned)(__any_sync(~0u, lane == 9) + 2 * __all_sync(~0u, lane != 9));
    out[threadIdx.x] +=
        4 * (unsigned)(__any_sync(half, lane == 9) + 2 * __all_sync(half, lane != 9));
    out[threadIdx.x] += 100 * (unsigned)__reduce_max_sync(~0u, -(int)lane - 1 + 2);
    __syncwarp();
    out[threadIdx.x] += 1000 * __reduce_add_sync(half, lane);
}

void test_warps()
{
    device_array<unsigned> out(32);

    check_shuffles<int>();
    check_shuffles<unsigned>();
    check_shuffles<long long>();
    check_shuffles<float>();
    check_shuffles<double>();
    for (const char *order : orders) {
        set_order(order);
        LAUNCH(votes_of_warp, 1, 32, 0, out.at);
        out.receive();
        for (unsigned i = 0; i < 32; i++)
            CHECK(out.host[i] == 1 + 4 * (i < 16 ? 1u : 2u) + 100 + 1000 * (i < 16 ? 120u : 376u));
    }
}

/* What only neighbours in a warp exchange needs a __syncwarp: of two, one comes first. */
template <bool with_wait> __global__ void swap(int *out, int add)
{
    __shared__ int staged[32];
    const int t = (int)threadIdx.x;

    staged[t] = t + add;
    if (with_wait) __syncwarp();
    out[t] = staged[t ^ 1];
}

void test_order_within_warps()
{
    device_array<int> out(32);
    int add = 1000;

    for (const char *order : orders) {
        set_order(order);
        LAUNCH(swap<true>, 1, 32, 0, out.at, add);
        out.receive();
        for (int i = 0; i < 32; i++)
            CHECK(out.host[i] == (i ^ 1) + add);
        add *= 2;
        LAUNCH(swap<false>, 1, 32, 0, out.at, add);
        out.receive();
        for (int i = 0; i < 32; i += 2)
            CHECK(out.host[i] != (i ^ 1) + add || out.host[i + 1] != i + add);
    }
}

/* ---- kernels that are wrong ------------------------------------------------------------------ */

__global__ void waits_for_ever(int)
{
    if (threadIdx.x < 16)
        __syncwarp();
    else
        __syncthreads();
}

__global__ void differ_in_operation(float *y)
{
    y[threadIdx.x] =
        threadIdx.x < 16 ? __shfl_xor_sync(~0u, 1.0f, 1) : (float)__ballot_sync(~0u, 1);
}

__global__ void differ_in_barrier(int *y)
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        y[threadIdx.x] = __syncthreads_or(1);
}

__global__ void leaves_a_shuffle(int *y)
{
    if (threadIdx.x < 30) y[threadIdx.x] = __shfl_xor_sync(~0u, 1, 1);
}

__global__ void shuffles_alone(int *y)
{
    y[threadIdx.x] = __shfl_xor_sync(~0u, 1, 1);
}

__global__ void asks_a_stranger(int *y)
{
    if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(0xffffu, 1, 20);
}

__global__ void writes_beyond(char *p, int i)
{
    p[i] = 1;
}

__global__ void overflows_shared(int i)
{
    static_cast<volatile char *>(coc_emulator_shared())[i] = 1;
}

void test_wrong_kernels()
{
    device_array<int> y(64);
    device_array<float> f(64);

    for (const char *order : orders) {
        set_order(order);
        CHECK_ENDS("waits_for_ever", LAUNCH(waits_for_ever, 1, 32, 0, 0));
        CHECK_ENDS("wait for each other for ever", LAUNCH(waits_for_ever, 1, 32, 0, 0));
        CHECK_ENDS("a vote", LAUNCH(differ_in_operation, 1, 32, 0, f.at));
        CHECK_ENDS("__syncthreads_or", LAUNCH(differ_in_barrier, 1, 64, 0, y.at));
        CHECK_ENDS("a shuffle", LAUNCH(leaves_a_shuffle, 1, 32, 0, y.at));
        CHECK_ENDS("never were", LAUNCH(shuffles_alone, 1, 48, 0, y.at));
        CHECK_ENDS("takes no part", LAUNCH(asks_a_stranger, 1, 32, 0, y.at));
    }
    CHECK_ENDS("", LAUNCH(writes_beyond, 1, 1, 0, reinterpret_cast<char *>(y.at), 64 * 4));
    CHECK_ENDS("", LAUNCH(writes_beyond, 1, 1, 0, reinterpret_cast<char *>(y.at), 4096));
    CHECK_ENDS("", LAUNCH(overflows_shared, 1, 1, 1000, 1024));
}

/* ---- tensor cores ---------------------------------------------------------------------------- */

/* c [16][8] = a [16][16] b [16][8], or b [8][16] transposed; everything by ldmatrix. */
template <bool b_is_transposed>
__global__ void product_bf16(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c, int columns)
{
    __shared__ __align__(16) __nv_bfloat16 sa[16][24], sb[16][24];
    const int lane = (int)threadIdx.x;
    uint32_t fa[4], fb[2];
    float d[4] = {0, 0, 0, 0};

    for (int i = lane; i < 256; i += 32)
        sa[i / 16][i % 16] = a[i];
    for (int i = lane; i < 128; i += 32)
        sb[i / columns][i % columns] = b[i];
    __syncwarp();
    coc_ldmatrix_x4(fa, &sa[lane % 16][lane / 16 * 8]);
    if (b_is_transposed)
        coc_ldmatrix_x2(fb, &sb[lane % 8][lane / 8 % 2 * 8]);
    else
        coc_ldmatrix_x2_trans(fb, &sb[lane % 16][0]);
    coc_mma_bf16_16816(d, fa, fb);
    for (int i = 0; i < 4; i++)
        c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

/* The transpose of four 8 x 8 matrices, by what ldmatrix gives. */
__global__ void transposes(const __nv_bfloat16 *a, unsigned short *out)
{
    __shared__ __align__(16) __nv_bfloat16 sa[32][8];
    const int lane = (int)threadIdx.x;
    uint32_t r[4];

    for (int i = lane; i < 256; i += 32)
        sa[i / 8][i % 8] = a[i];
    __syncwarp();
    coc_ldmatrix_x4_trans(r, sa[lane]);
    for (int m = 0; m < 4; m++)
        for (int half = 0; half < 2; half++)
            out[64 * m + lane / 4 * 8 + lane % 4 * 2 + half] = (unsigned short)(r[m] >> 16 * half);
}

void test_mma_bf16()
{
    device_array<__nv_bfloat16> a(256), b(128), bt(128);
    device_array<float> c(128);
    device_array<unsigned short> t(256);

    for (int i = 0; i < 256; i++)
        a.host[i] = __float2bfloat16((float)(i * 37 % 101) - 50.0f);
    for (int i = 0; i < 128; i++)
        b.host[i] = bt.host[i % 8 * 16 + i / 8] = __float2bfloat16((float)(i * 53 % 97) - 48.0f);
    for (int transposed = 0; transposed < 2; transposed++) {
        if (transposed)
            LAUNCH(product_bf16<true>, 1, 32, 0, a.send(), bt.send(), c.at, 16);
        else
            LAUNCH(product_bf16<false>, 1, 32, 0, a.send(), b.send(), c.at, 8);
        c.receive();
        for (int i = 0; i < 128; i++) {
            float sum = 0.0f;

            for (int k = 0; k < 16; k++)
                sum += __bfloat162float(a.host[i / 8 * 16 + k]) *
                       __bfloat162float(b.host[k * 8 + i % 8]);
            CHECK(c.host[i] == sum); /* whole numbers: exact */
        }
    }
    LAUNCH(transposes, 1, 32, 0, a.at, t.at);
    t.receive();
    for (int i = 0; i < 256; i++)
        CHECK(t.host[i] == a.host[i / 64 * 64 + i % 8 * 8 + i % 64 / 8].bits);
}

/* c [16][8] += a [16][8] b [8][8]; b is stored by columns. Indices as the PTX ISA has them. */
__global__ void product_tf32(const float *a, const float *b, float *c)
{
    const int lane = (int)threadIdx.x, group = lane / 4, member = lane % 4;
    uint32_t fa[4], fb[2];
    float d[4];

    for (int i = 0; i < 4; i++)
        fa[i] = __float_as_uint(a[(group + i % 2 * 8) * 8 + member + i / 2 * 4]);
    for (int i = 0; i < 2; i++)
        fb[i] = __float_as_uint(b[group * 8 + member + i * 4]);
    for (int i = 0; i < 4; i++)
        d[i] = c[(group + i / 2 * 8) * 8 + member * 2 + i % 2];
    coc_mma_tf32_1688(d, fa, fb);
    for (int i = 0; i < 4; i++)
        c[(group + i / 2 * 8) * 8 + member * 2 + i % 2] = d[i];
}

void test_mma_tf32()
{
    device_array<float> a(128), b(64), c(128);

    for (int i = 0; i < 128; i++) {
        a.host[i] = (float)(i * 37 % 101) + 0x1p-14f; /* cut off, but for 0 */
        c.host[i] = (float)i;
    }
    for (int i = 0; i < 64; i++)
        b.host[i] = (float)(i * 53 % 97) - 48.0f;
    LAUNCH(product_tf32, 1, 32, 0, a.send(), b.send(), c.send());
    c.receive();
    for (int i = 0; i < 128; i++) {
        double sum = i;

        for (int k = 0; k < 8; k++) {
            const float x = a.host[(size_t)(i / 8 * 8 + k)];

            sum += (double)(x < 1.0f ? x : floorf(x)) * b.host[(size_t)(i % 8 * 8 + k)];
        }
        CHECK(c.host[i] == (float)sum);
    }
}

/* ---- asynchronous copies --------------------------------------------------------------------- */

/* y = x, four numbers a thread in each of two stages; waits: how many of the stages are waited for,
 * last: how many groups may be left. */
template <int left> __global__ void copies(const float *x, float *y, bool valid)
{
    __shared__ __align__(16) float staged[2][128];
    const int t = (int)threadIdx.x;

    for (int stage = 0; stage < 2; stage++) {
        coc_cp_async_16(&staged[stage][4 * t], x + 128 * stage + 4 * t, valid);
        coc_cp_async_commit();
    }
    coc_cp_async_wait<left>();
    __syncthreads();
    for (int i = t; i < 256; i += 32)
        y[i] = staged[i / 128][i % 128];
}

__global__ void copies_askew(const float *x)
{
    __shared__ __align__(16) float staged[8];

    coc_cp_async_16(staged + 1, x, true);
}

void test_async_copies()
{
    device_array<float> x(256), y(256);

    for (int i = 0; i < 256; i++)
        x.host[i] = (float)i;
    for (const char *order : orders) {
        set_order(order);
        LAUNCH(copies<0>, 1, 32, 0, x.send(), y.at, true);
        y.receive();
        for (int i = 0; i < 256; i++)
            CHECK(y.host[i] == (float)i);
        LAUNCH(copies<1>, 1, 32, 0, x.at, y.at, true); /* the second stage is not waited for */
        y.receive();
        for (int i = 0; i < 256; i++)
            CHECK(i < 128 ? y.host[i] == (float)i : std::isnan(y.host[i]));
        LAUNCH(copies<0>, 1, 32, 0, x.at, y.at, false);
        y.receive();
        for (int i = 0; i < 256; i++)
            CHECK(y.host[i] == 0.0f);
    }
    CHECK_ENDS("aligned", LAUNCH(copies_askew, 1, 1, 0, x.at));
}

/* ---- the rest -------------------------------------------------------------------------------- */

__global__ void indices(unsigned *out, float *shared_begins_as)
{
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    float *shared = static_cast<float *>(coc_emulator_shared());

    out[block * blockDim.x * blockDim.y * blockDim.z + thread] = 1000 * block + thread;
    if (thread == 0) shared_begins_as[block] = shared[5];
    __syncthreads();
    if (thread == 0) shared[5] = 1.0f;
}

void test_indices()
{
    device_array<unsigned> out(24 * 30);
    device_array<float> begins(24);

    for (const char *order : orders) {
        set_order(order);
        LAUNCH(indices, dim3(2, 3, 4), dim3(5, 3, 2), 64, out.at, begins.at);
        out.receive(), begins.receive();
        for (unsigned i = 0; i < 24 * 30; i++)
            CHECK(out.host[i] == 1000 * (i / 30) + i % 30);
        for (int i = 0; i < 24; i++)
            CHECK(std::isnan(begins.host[i]));
    }
    LAUNCH(indices, 1, 1025, 64, out.at, begins.at);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    LAUNCH(indices, 0, 32, 64, out.at, begins.at);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    LAUNCH(indices, 1, 32, 1 << 20, out.at, begins.at);
    CHECK(cudaGetLastError() == cudaErrorInvalidValue && cudaGetLastError() == cudaSuccess);
}

__global__ void counts(unsigned *n, int *most, unsigned long long *all)
{
    atomicAdd(n, 1u);
    atomicMax(most, (int)threadIdx.x);
    atomicAdd(all, 1ull << 32);
    atomicCAS(most + 1, -1, (int)threadIdx.x);
}

void test_numbers()
{
    device_array<unsigned> n(1);
    device_array<int> most(2);
    device_array<unsigned long long> all(1);
    float sine, cosine;

    n.host[0] = 0, most.host[0] = most.host[1] = -1, all.host[0] = 0;
    set_order("reverse");
    LAUNCH(counts, 3, 100, 0, n.send(), most.send(), all.send());
    n.receive(), most.receive(), all.receive();
    CHECK(n.host[0] == 300 && most.host[0] == 99 && most.host[1] == 99);
    CHECK(all.host[0] == 300ull << 32);
    CHECK(__float2bfloat16(1.00390625f).bits == 0x3f80); /* half way: to even */
    CHECK(__float2bfloat16(1.01171875f).bits == 0x3f82);
    CHECK(__float2bfloat16(3.4e38f).bits == 0x7f80 && __float2bfloat16(-0.0f).bits == 0x8000);
    CHECK(std::isnan(__bfloat162float(__float2bfloat16(NAN))));
    CHECK(__high2float(__floats2bfloat162_rn(1.0f, 2.0f)) == 2.0f);
    CHECK(__umulhi(0x80000000u, 6u) == 3u && __clz(1) == 31 && __clz(0) == 32 && __ffs(8) == 4);
    CHECK(__popc(0xf0f0u) == 8 && __brev(1u) == 0x80000000u);
    CHECK(__byte_perm(0x33221100u, 0x77665544u, 0x7410u) == 0x77441100u);
    CHECK(__funnelshift_l(0x80000000u, 1u, 1u) == 3u);
    CHECK(min(3, -2) == -2 && max(2.0f, NAN) == 2.0f && __saturatef(NAN) == 0.0f);
    CHECK(rsqrtf(4.0f) == 0.5f && __fmul_rn(3.0f, 5.0f) == 15.0f && __expf(0.0f) == 1.0f);
    sincospif(0.5f, &sine, &cosine);
    CHECK(sine == 1.0f && fabsf(cosine) < 1e-7f);
}

} // namespace

int main()
{
    setenv("COC_EMULATOR_MEMORY", "67108864", 1);
    setenv("COC_EMULATOR_PROTECT", "1", 1);
    unsetenv("COC_EMULATOR_STREAMS");
    test_barriers();
    test_barriers_of_some();
    test_warps();
    test_order_within_warps();
    test_wrong_kernels();
    test_mma_bf16();
    test_mma_tf32();
    test_async_copies();
    test_indices();
    test_numbers();
    test_runtime();
    if (failures == 0) printf("all tests passed\n");
    return failures == 0 ? 0 : 1;
}
