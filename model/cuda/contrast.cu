/* model/cuda/contrast.cu - rows of the loss, a block of rows at a time: S = A P', softmax, loss and
 * gradients. Nothing of rows x columns is kept, only of a block of rows. */
#include "model/cuda/factor.cuh"

using namespace coc;

namespace
{

enum { LANES = 32, AHEAD = 8 }; /* AHEAD: logits of a thread that are on their way at a time */

/* A row is passed over by one block of threads: a small one, of which a multiprocessor has many, or
 * for long rows a large one, so that few rows are enough to keep memory busy. */
enum { SMALL = 256, LARGE = 1024, LARGE_FROM = 1 << 14 };

/* Rows at a time: as many as have 256 MB of logits, within limits. With fewer rows than the least,
 * reading and writing dp once a block of rows would cost more than the products do; more than the
 * most gain nothing, and the logits of fewer may still lie in the cache when they are read again.
 * A function of the shape alone. */
enum { LEAST_ROWS = 256, MOST_ROWS = 1024 };
static const int64_t block_floats = (int64_t)64 << 20;

/* What a thread, and then the block, knows of a row: the largest logit and its first column, the
 * sum of exp(logit - largest), columns that count, and those of the row's own track. */
struct row_sums {
    double sum;
    float top;
    int best, counted, same;
};

__device__ __forceinline__ float scaled(float from, float to)
{
    return from == to ? 1.0f : expf(from - to); /* both may be -infinity */
}

__device__ __forceinline__ row_sums merge(const row_sums &a, const row_sums &b)
{
    const bool first = a.top > b.top || (a.top == b.top && a.best <= b.best);
    const float top = first ? a.top : b.top;

    return {a.sum * (double)scaled(a.top, top) + b.sum * (double)scaled(b.top, top), top,
            first ? a.best : b.best, a.counted + b.counted, a.same + b.same};
}

/* Over the lanes of a warp, the same order always. */
__device__ __forceinline__ row_sums merge_lanes(row_sums own)
{
    for (int lane = LANES / 2; lane > 0; lane /= 2) {
        const row_sums other = {__shfl_xor_sync(0xffffffffu, own.sum, lane),
                                __shfl_xor_sync(0xffffffffu, own.top, lane),
                                __shfl_xor_sync(0xffffffffu, own.best, lane),
                                __shfl_xor_sync(0xffffffffu, own.counted, lane),
                                __shfl_xor_sync(0xffffffffu, own.same, lane)};

        own = merge(own, other);
    }
    return own;
}

/* Whether column j counts in the row; counts it. */
__device__ __forceinline__ bool count(const coc_contrast &c, int64_t row, int64_t label, int j,
                                      row_sums *own)
{
    const bool own_set = c.row_set == NULL || c.row_set[row] == c.column_set[j];
    const bool own_track = c.row_track != NULL && c.row_track[row] == c.column_track[j];
    const bool counts = (own_set && !(own_track && c.mask_track)) || j == label;

    own->counted += counts;
    own->same += own_set && own_track && j != label;
    return counts;
}

/* One pass over a row by one thread of THREADS. Logits that do not count become -infinity, so that
 * the second pass needs to know no more about them. */
template <int THREADS>
__device__ __forceinline__ row_sums read_row(const coc_contrast &c, int64_t row, int64_t label,
                                             float *s)
{
    const int columns = (int)c.columns;
    row_sums own = {0, -INFINITY, INT32_MAX, 0, 0};

    for (int begin = (int)threadIdx.x; begin < columns; begin += AHEAD * THREADS) {
        float logit[AHEAD], top = -INFINITY, sum = 0;

#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            logit[k] = begin + k * THREADS < columns ? s[begin + k * THREADS] : -INFINITY;
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            const int j = begin + k * THREADS;

            if (j < columns && !count(c, row, label, j, &own)) s[j] = logit[k] = -INFINITY;
            top = fmaxf(top, logit[k]);
        }
        if (top > own.top) {
            own.sum *= (double)expf(own.top - top);
            own.top = top;
#pragma unroll
            for (int k = AHEAD - 1; k >= 0; k--)
                own.best = logit[k] == top ? begin + k * THREADS : own.best;
        }
        if (own.top == -INFINITY) continue; /* nothing that counts so far */
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            sum += expf(logit[k] - own.top);
        own.sum += (double)sum;
    }
    return own;
}

/* What all threads of the block found, to all of them. */
template <int THREADS> __device__ __forceinline__ row_sums merge_block(row_sums own)
{
    __shared__ row_sums left[THREADS / LANES];
    const int warp = (int)threadIdx.x / LANES, lane = (int)threadIdx.x % LANES;
    const row_sums none = {0, -INFINITY, INT32_MAX, 0, 0};

    own = merge_lanes(own);
    if (lane == 0) left[warp] = own;
    __syncthreads();
    return merge_lanes(lane < THREADS / LANES ? left[lane] : none);
}

/* One block a row: results [row][COC_CONTRAST_RESULTS], and s, with rest, becomes d loss / d s as a
 * factor of products where wanted. */
template <int THREADS, factor_kind KIND>
__global__ void __launch_bounds__(THREADS, THREADS == LARGE ? 1 : 3)
    rows_of_loss(coc_contrast c, int64_t first, float *block,
                 typename rest_of<KIND>::type *__restrict__ rest, bool gradient, double *results)
{
    const int64_t row = first + blockIdx.x, label = c.label[row];
    float *s = block + blockIdx.x * c.columns;
    const float logit = s[label];
    const row_sums all = merge_block<THREADS>(read_row<THREADS>(c, row, label, s));

    if (threadIdx.x == 0) {
        double *to = results + blockIdx.x * COC_CONTRAST_RESULTS;

        to[COC_CONTRAST_LOSS] = c.scale * ((double)all.top + log(all.sum) - (double)logit);
        to[COC_CONTRAST_RIGHT] = all.best == label;
        to[COC_CONTRAST_COUNTED] = all.counted;
        to[COC_CONTRAST_SAME_TRACK] = all.same;
        to[COC_CONTRAST_KEPT] = all.counted; /* nothing is screened here */
        to[COC_CONTRAST_DROPPED] = to[COC_CONTRAST_BLOCKS] = to[COC_CONTRAST_DENSE] = 0;
    }
    if (!gradient) return;
    {
        const float share = (float)(c.scale / all.sum), whole = (float)c.scale;
        const int columns = (int)c.columns;
        typename rest_of<KIND>::type *own = rest + blockIdx.x * c.columns;

#pragma unroll 8
        for (int j = (int)threadIdx.x; j < columns; j += THREADS)
            put_factor<KIND>(s, own, j, share * expf(s[j] - all.top) - (j == label ? whole : 0.0f));
    }
}

/* results += the sums over rows of row [rows][COC_CONTRAST_RESULTS]: one block, whose threads take
 * turns at the rows. */
__global__ void __launch_bounds__(SMALL)
    add_results(int64_t rows, const double *row, double *results)
{
    __shared__ double left[SMALL];
    const int thread = (int)threadIdx.x;
    double sum = 0;

#pragma unroll 8
    for (int64_t i = thread; i < rows * COC_CONTRAST_RESULTS; i += SMALL)
        sum += row[i];
    left[thread] = sum;
    for (int half = SMALL / 2; half >= COC_CONTRAST_RESULTS; half /= 2) {
        __syncthreads();
        if (thread < half) left[thread] += left[thread + half];
    }
    if (thread < COC_CONTRAST_RESULTS) results[thread] += left[thread];
}
static_assert(SMALL % COC_CONTRAST_RESULTS == 0 &&
                  (COC_CONTRAST_RESULTS & (COC_CONTRAST_RESULTS - 1)) == 0,
              "a thread of add_results must stay with one result");

/* ---- tile by tile */

/* place [rows] = where in the tile a row's own column stands, or -1. */
__global__ void __launch_bounds__(SMALL) find_labels(coc_contrast c, int64_t *place)
{
    const int64_t row = (int64_t)blockIdx.x * SMALL + threadIdx.x;
    int first = 0, end = (int)c.columns;
    int64_t label;

    if (row >= c.rows) return;
    label = c.label[row];
    if (c.number == NULL) {
        place[row] = label;
        return;
    }
    while (first < end) {
        const int middle = first + (end - first) / 2;

        if (c.number[middle] < label)
            first = middle + 1;
        else
            end = middle;
    }
    place[row] = first < (int)c.columns && c.number[first] == label ? first : -1;
}

/* What a tile's columns say of a row joins what is known of it. */
__device__ __forceinline__ void join(const coc_contrast &c, const row_sums &tile,
                                     coc_contrast_row *known)
{
    coc_contrast_row r = *known;
    const double top = (double)tile.top;

    r.same_track += tile.same;
    if (tile.best <
        (int)c.columns) { /* else nothing that counts, or nothing but what is no number */
        const int64_t number = c.number != NULL ? c.number[tile.best] : tile.best;

        if (r.sum == 0 || top > r.top) {
            r.sum = tile.sum + (r.sum == 0 ? 0.0 : r.sum * exp(r.top - top));
            r.top = top;
            r.best = number;
        } else {
            r.sum += tile.sum * exp(top - r.top);
            if (top == r.top && number < r.best) r.best = number;
        }
    }
    r.counted += tile.counted;
    *known = r;
}

/* One block a row; c.label says where in the tile the row's own column stands. */
template <int THREADS>
__global__ void __launch_bounds__(THREADS, THREADS == LARGE ? 1 : 3)
    rows_of_tile(coc_contrast c, int64_t first, float *block, coc_contrast_row *known)
{
    const int64_t row = first + blockIdx.x, label = c.label[row];
    float *s = block + blockIdx.x * c.columns;
    const float logit = label >= 0 ? s[label] : 0.0f;
    const row_sums tile = merge_block<THREADS>(read_row<THREADS>(c, row, label, s));

    if (threadIdx.x != 0) return;
    if (label >= 0) known[row].own = (double)logit;
    join(c, tile, known + row);
}

/* s, with rest, becomes d loss / d s as a factor of products. */
template <int THREADS, factor_kind KIND>
__global__ void __launch_bounds__(THREADS, THREADS == LARGE ? 1 : 3)
    gradient_of_tile(coc_contrast c, int64_t first, float *block,
                     typename rest_of<KIND>::type *__restrict__ rest, const coc_contrast_row *known)
{
    const int64_t row = first + blockIdx.x, label = c.label[row];
    float *s = block + blockIdx.x * c.columns;
    const float share = (float)(c.scale / known[row].sum), whole = (float)c.scale;
    const float top = (float)known[row].top;
    const int columns = (int)c.columns;
    typename rest_of<KIND>::type *own = rest + blockIdx.x * c.columns;
    row_sums ignored = {0, 0, 0, 0, 0};

#pragma unroll 4
    for (int j = (int)threadIdx.x; j < columns; j += THREADS) {
        const float e = count(c, row, label, j, &ignored) ? share * expf(s[j] - top) : 0.0f;

        put_factor<KIND>(s, own, j, e - (j == label ? whole : 0.0f));
    }
}

/* row [rows][COC_CONTRAST_RESULTS] of rows that have seen all columns. */
__global__ void __launch_bounds__(SMALL)
    results_of_rows(coc_contrast c, int64_t first, int64_t rows, const coc_contrast_row *known,
                    double *row)
{
    const int64_t i = (int64_t)blockIdx.x * SMALL + threadIdx.x;
    double *to = row + i * COC_CONTRAST_RESULTS;
    coc_contrast_row r;

    if (i >= rows) return;
    r = known[first + i];
    to[COC_CONTRAST_LOSS] = c.scale * (r.top + log(r.sum) - r.own);
    to[COC_CONTRAST_RIGHT] = r.best == c.label[first + i];
    to[COC_CONTRAST_COUNTED] = (double)r.counted;
    to[COC_CONTRAST_SAME_TRACK] = (double)r.same_track;
    to[COC_CONTRAST_KEPT] = (double)r.counted; /* nothing is screened here */
    to[COC_CONTRAST_DROPPED] = to[COC_CONTRAST_BLOCKS] = to[COC_CONTRAST_DENSE] = 0;
}

/* Rows `first` and on of a tile, whose logits lie in s [rows][columns]. */
struct tile_block {
    int64_t first, rows;
    float *s;
    void *rest;
    coc_contrast_row *known;
};

template <int THREADS>
void see_tile(cudaStream_t stream, const coc_contrast &c, const tile_block &t)
{
    const auto kernel = rows_of_tile<THREADS>;

    COC_LAUNCH(kernel, dim3((unsigned)t.rows), dim3(THREADS), 0, stream, c, t.first, t.s, t.known);
}

template <int THREADS, factor_kind KIND>
void differ_tile(cudaStream_t stream, const coc_contrast &c, const tile_block &t)
{
    const auto kernel = gradient_of_tile<THREADS, KIND>;

    COC_LAUNCH(kernel, dim3((unsigned)t.rows), dim3(THREADS), 0, stream, c, t.first, t.s,
               static_cast<typename rest_of<KIND>::type *>(t.rest),
               (const coc_contrast_row *)t.known);
}

template <int THREADS> void differ_tile(coc_backend *b, const coc_contrast &c, const tile_block &t)
{
    const cudaStream_t stream = coc_cuda_of(b)->stream;

    switch (factor_kind_of(b)) {
    case PLAIN:
        return differ_tile<THREADS, PLAIN>(stream, c, t);
    case SPLIT:
        return differ_tile<THREADS, SPLIT>(stream, c, t);
    case HALF:
        return differ_tile<THREADS, HALF>(stream, c, t);
    }
}

template <int THREADS>
void launch_tile(coc_backend *b, const coc_contrast &c, const tile_block &t, bool gradient)
{
    if (gradient)
        differ_tile<THREADS>(b, c, t);
    else
        see_tile<THREADS>(coc_cuda_of(b)->stream, c, t);
}

/* Rows `first` and on, whose logits lie in s [rows][columns]. */
struct row_block {
    int64_t first, rows;
    float *s;
    void *rest;
    bool gradient;
    double *results;
};

template <int THREADS, factor_kind KIND>
void launch_rows(cudaStream_t stream, const coc_contrast *c, const row_block &r)
{
    const auto kernel = rows_of_loss<THREADS, KIND>;
    const coc_contrast contrast = *c;

    COC_LAUNCH(kernel, dim3((unsigned)r.rows), dim3(THREADS), 0, stream, contrast, r.first, r.s,
               static_cast<typename rest_of<KIND>::type *>(r.rest), r.gradient, r.results);
}

template <factor_kind KIND>
void launch_rows(cudaStream_t stream, const coc_contrast *c, const row_block &r)
{
    if (c->columns < LARGE_FROM)
        launch_rows<SMALL, KIND>(stream, c, r);
    else
        launch_rows<LARGE, KIND>(stream, c, r);
}

void launch_rows(coc_backend *b, const coc_contrast *c, const row_block &r)
{
    const cudaStream_t stream = coc_cuda_of(b)->stream;

    switch (factor_kind_of(b)) {
    case PLAIN:
        return launch_rows<PLAIN>(stream, c, r);
    case SPLIT:
        return launch_rows<SPLIT>(stream, c, r);
    case HALF:
        return launch_rows<HALF>(stream, c, r);
    }
}

int64_t rows_at_a_time(const coc_contrast *c)
{
    int64_t rows = block_floats / c->columns;

    if (rows < LEAST_ROWS) rows = LEAST_ROWS;
    if (rows > MOST_ROWS) rows = MOST_ROWS;
    return rows < c->rows ? rows : c->rows;
}

/* Working memory: the two matrices as factors, results of `room` rows, and their logits. */
struct working {
    coc_cuda_factor a, p;
    double *parts;
    int64_t *places; /* of tiles */
    float *s;
    void *rest;
};

size_t working_bytes(const coc_backend *b, const coc_contrast *c, int64_t room, int64_t places)
{
    return coc_cuda_factor_bytes(b, c->rows * c->d) + coc_cuda_factor_bytes(b, c->columns * c->d) +
           coc_cuda_rest_bytes(b, room * c->columns) +
           (size_t)room * COC_CONTRAST_RESULTS * sizeof(double) + (size_t)places * sizeof(int64_t) +
           (size_t)(room * c->columns) * sizeof(float);
}

bool take_working(coc_backend *b, const coc_contrast *c, int64_t room, int64_t places, working *w)
{
    const size_t a_bytes = coc_cuda_factor_bytes(b, c->rows * c->d),
                 p_bytes = coc_cuda_factor_bytes(b, c->columns * c->d),
                 rest_bytes = coc_cuda_rest_bytes(b, room * c->columns);
    char *memory = (char *)coc_cuda_scratch(b, working_bytes(b, c, room, places));

    if (memory == NULL) return false;
    w->a = coc_cuda_factor_make(b, c->rows * c->d, c->a, memory);
    w->p = coc_cuda_factor_make(b, c->columns * c->d, c->p, memory + a_bytes);
    w->rest = memory + a_bytes + p_bytes;
    w->parts = (double *)(memory + a_bytes + p_bytes + rest_bytes);
    w->places = (int64_t *)(w->parts + room * COC_CONTRAST_RESULTS);
    w->s = (float *)(w->places + places);
    return true;
}

} // namespace

size_t coc_cuda_loss_scratch(const coc_backend *b, const coc_contrast *shape, bool tile)
{
    return working_bytes(b, shape, rows_at_a_time(shape), tile ? shape->rows : 0);
}

void coc_cuda_contrast(coc_backend *b, const coc_contrast *c, real *da, real *dp, double *results)
{
    const int64_t room = rows_at_a_time(c);
    working w;

    if (room == 0 || !take_working(b, c, room, 0, &w)) return;
    for (int64_t first = 0; first < c->rows; first += room) {
        const int64_t rows = c->rows - first < room ? c->rows - first : room;
        const coc_cuda_factor a = coc_cuda_factor_from(b, w.a, first * c->d),
                              s = coc_cuda_factor_of(b, w.s, w.rest);

        coc_cuda_factor_product(b, false, true, rows, c->columns, c->d, a, w.p, 0, w.s);
        launch_rows(b, c, {first, rows, w.s, w.rest, da != NULL, w.parts});
        COC_LAUNCH(add_results, dim3(1), dim3(SMALL), 0, coc_cuda_of(b)->stream, rows,
                   (const double *)w.parts, results);
        if (da == NULL) continue;
        coc_cuda_factor_product(b, false, false, rows, c->d, c->columns, s, w.p, 0,
                                da + first * c->d);
        coc_cuda_factor_product(b, true, false, c->columns, c->d, rows, s, a, 1, dp);
    }
    coc_cuda_launched(b, "contrast");
}

namespace
{

/* Blocks of rows of a tile; da NULL: forward. */
void run_blocks(coc_backend *b, const coc_contrast *c, int64_t room, const working &w,
                coc_contrast_row *known, real *da, real *dp)
{
    coc_contrast here = *c;

    here.label = w.places;
    for (int64_t first = 0; first < c->rows; first += room) {
        const int64_t rows = min(room, c->rows - first);
        const coc_cuda_factor a = coc_cuda_factor_from(b, w.a, first * c->d),
                              s = coc_cuda_factor_of(b, w.s, w.rest);
        const tile_block t = {first, rows, w.s, w.rest, known};

        coc_cuda_factor_product(b, false, true, rows, c->columns, c->d, a, w.p, 0, w.s);
        if (c->columns < LARGE_FROM)
            launch_tile<SMALL>(b, here, t, da != NULL);
        else
            launch_tile<LARGE>(b, here, t, da != NULL);
        if (da == NULL) continue;
        coc_cuda_factor_product(b, false, false, rows, c->d, c->columns, s, w.p, 1,
                                da + first * c->d);
        coc_cuda_factor_product(b, true, false, c->columns, c->d, rows, s, a, 1, dp);
    }
}

void run_tile(coc_backend *b, const coc_contrast *c, coc_contrast_row *known, real *da, real *dp)
{
    const int64_t room = c->columns > 0 ? rows_at_a_time(c) : 0;
    working w;

    if (room == 0 || !take_working(b, c, room, c->rows, &w)) return;
    COC_LAUNCH(find_labels, dim3((unsigned)divide_up(c->rows, SMALL)), dim3(SMALL), 0,
               coc_cuda_of(b)->stream, *c, w.places);
    run_blocks(b, c, room, w, known, da, dp);
    coc_cuda_launched(b, "contrast of a tile");
}

} // namespace

void coc_cuda_tile_forward(coc_backend *b, const coc_contrast *c, coc_contrast_row *row)
{
    run_tile(b, c, row, NULL, NULL);
}

void coc_cuda_tile_backward(coc_backend *b, const coc_contrast *c, const coc_contrast_row *row,
                            real *da, real *dp)
{
    run_tile(b, c, const_cast<coc_contrast_row *>(row), da, dp); /* only read */
}

void coc_cuda_tile_results(coc_backend *b, const coc_contrast *c, const coc_contrast_row *row,
                           double *results)
{
    const cudaStream_t stream = coc_cuda_of(b)->stream;
    const int64_t room = min(c->rows, (int64_t)MOST_ROWS);
    const coc_contrast contrast = *c;
    double *parts;

    if (room == 0) return;
    parts = (double *)coc_cuda_scratch(b, (size_t)room * COC_CONTRAST_RESULTS * sizeof(double));
    if (parts == NULL) return;
    for (int64_t first = 0; first < c->rows; first += room) {
        const int64_t rows = c->rows - first < room ? c->rows - first : room;

        COC_LAUNCH(results_of_rows, dim3((unsigned)divide_up(rows, SMALL)), dim3(SMALL), 0, stream,
                   contrast, first, rows, row, parts);
        COC_LAUNCH(add_results, dim3(1), dim3(SMALL), 0, stream, rows, (const double *)parts,
                   results);
    }
    coc_cuda_launched(b, "results of the loss");
}
