// Products of a few rows by a matrix, packed into panels or in place.
#pragma once
#include <chrono>
#include <type_traits>

#include "abi.h"
#include "narrow.h"

namespace unspool::UNSPOOL_NS {

// Rows as a product takes them: groups of numbers in 32 bits, and for INT8 what one step of each row stands for.
struct Rows {
  const float* groups[MAX_ROWS];
  float step[MAX_ROWS];
  int64_t apart = 0;     // TILED: numbers from one to the next
};

template <Form FORM>
using Sum = std::conditional_t<FORM == INT8, I, V>;

// sum + x w, group by group.
template <Form FORM>
static inline Sum<FORM> multiply_add(Sum<FORM> sum, V x, V w) {
  if constexpr (FORM == FLOAT32) {
    return sum + x * w;
  } else if constexpr (FORM == BFLOAT16) {
#if defined(__AVX512BF16__)
    return (V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)w);
#else
    const V even = (V)((I)x << 16) * (V)((I)w << 16);
    return sum + even + (V)((I)x & (int32_t)0xffff0000) * (V)((I)w & (int32_t)0xffff0000);
#endif
  } else {
#if defined(__AVX512VNNI__)
    return (I)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
#else
    for (int shift = 0; shift < 32; shift += 8) sum += (((I)x >> shift) & 0xff) * (((I)w << (24 - shift)) >> 24);
    return sum;
#endif
  }
}

// R rows by P panels of C vectors side by side, R*P*C sums in registers; several panels where one would leave too few
// sums to hide an addition's latency. From column `first` of the matrix; WHOLE: all columns exist, else `valid` of them.
// FAR: the matrix comes from a cache so far away that its panels are asked for ahead.
template <Form FORM, int R, int P, int C, bool WHOLE, bool FAR = false>
static inline void panel(const Rows& a, int groups, const Factor& m, const float* w, int first, const float* const* init,
                         float* const* out, int valid) {
  Sum<FORM> acc[R][P * C] = {};
  const auto width = [valid](int c) { return WHOLE || valid >= (c + 1) * W ? W : valid > c * W ? valid - c * W : 0; };
  const auto read = [&](const float* p, int c) { return WHOLE ? load(p + c * W) : load(p + c * W, width(c)); };
  if constexpr (FORM != INT8)
    if (init) {
#pragma GCC unroll 12
      for (int r = 0; r < R; r++)
        for (int c = 0; c < P * C; c++) acc[r][c] = read(init[r], c);
    }
  const int64_t apart = (int64_t)groups * C * W;
  for (int k = 0; k < groups; k++, w += C * W) {
    V column[P * C];
    for (int p = 0; p < P; p++)
      for (int c = 0; c < C; c++) {
        column[p * C + c] = load(w + p * apart + c * W);
        if (FAR) __builtin_prefetch(w + p * apart + (16 * C + c) * W);
      }
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      V x = splat(a.groups[r][k]);
      for (int c = 0; c < P * C; c++) acc[r][c] = multiply_add<FORM>(acc[r][c], x, column[c]);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
    for (int c = 0; c < P * C; c++) {
      V value;
      if constexpr (FORM == INT8) {
        const I exact = acc[r][c] - *(const I*)(m.sums + first + c * W);
        const V start = init ? read(init[r], c) : V{};   // always added: the compiler rounds alike for any R
        value = __builtin_convertvector(exact, V) * (load(m.scales + first + c * W) * a.step[r]) + start;
      } else {
        value = acc[r][c];
      }
      if (WHOLE) store(out[r] + c * W, value);
      else store(out[r] + c * W, value, width(c));
    }
}

// Columns first ... first + width of the matrix, first being a panel's.
template <Form FORM, int R>
static void rows_by_matrix(const Rows& a, int inner, const Factor& m, int first, int width,
                           const float* const* init_rows, float* const* out_rows) {
  constexpr int P = R == 1 ? 4 : R == 2 ? 3 : R == 3 ? 2 : 1;
  const int groups = unspool::groups(inner, FORM);
  const bool far = is_far(m);
  const float* w = m.packed + (int64_t)first * groups;
  const float* init[R];
  float* out[R];
  for (int r = 0; r < R; r++) {
    out[r] = out_rows[r];
    init[r] = init_rows ? init_rows[r] : nullptr;
  }
  for (int n = 0; n < width;) {
    const int left = width - n;
    const float* const* start = init_rows ? init : nullptr;
    const int step = left >= P * 2 * W ? P * 2 * W : 2 * W;
    if (left >= P * 2 * W && far) panel<FORM, R, P, 2, true, true>(a, groups, m, w, first + n, start, out, P * 2 * W);
    else if (left >= P * 2 * W) panel<FORM, R, P, 2, true>(a, groups, m, w, first + n, start, out, P * 2 * W);
    else if (left >= 2 * W) panel<FORM, R, 1, 2, true>(a, groups, m, w, first + n, start, out, 2 * W);
    else if (left > W) panel<FORM, R, 1, 2, false>(a, groups, m, w, first + n, start, out, left);
    else panel<FORM, R, 1, 1, false>(a, groups, m, w, first + n, start, out, left);
    w += (int64_t)groups * (left > W ? step : W);
    n += step;
    for (int r = 0; r < R; r++) {
      out[r] += step;
      if (init_rows) init[r] += step;
    }
  }
}

// One row by a matrix in place, for calls of so few rows that packing would cost more. Where a column of the matrix is
// contiguous: W sums of products at a time, four columns together, so that memory is read almost in order.
static void row_by_columns(const float* a, const View& m, const float* init, float* out) {
  constexpr int N = 4;
  for (int32_t n = 0; n < m.width; n += W) {
    const int columns = m.width - n < W ? m.width - n : W;
    V sums[W];
    for (int j = 0; j < W; j += N) {
      const float* w[N];
      for (int i = 0; i < N; i++) w[i] = m.data + (n + (j + i < columns ? j + i : 0)) * m.width_stride;
      V acc[N] = {};
      int32_t k = 0;
      for (; k + W <= m.inner; k += W)
        for (int i = 0; i < N; i++) {
          acc[i] += load(a + k) * load(w[i] + k);
          __builtin_prefetch(w[i] + 2 * N * m.width_stride + k);
        }
      if (const int left = m.inner - k; left > 0)
        for (int i = 0; i < N; i++) acc[i] += load(a + k, left) * load(w[i] + k, left);
      for (int i = 0; i < N; i++) sums[j + i] = acc[i];
    }
    V sum = totals(sums);
    if (init) sum += load(init + n, columns);
    store(out + n, sum, columns);
  }
}

static void row_by_view(const float* a, const View& m, const float* init, float* out) {
  if (m.inner_stride == 1) return row_by_columns(a, m, init, out);
  constexpr int C = 4;
  for (int32_t n = 0; n < m.width; n += C * W) {
    V acc[C];
    for (int c = 0; c < C; c++) {
      const int left = m.width - n - c * W;
      acc[c] = !init || left <= 0 ? V{} : load(init + n + c * W, left < W ? left : W);
    }
    for (int32_t k = 0; k < m.inner; k++) {
      const float* w = m.data + k * m.inner_stride + n * m.width_stride;
      for (int c = 0; c < C; c++) {
        const int left = m.width - n - c * W;
        if (left >= W && m.width_stride == 1) acc[c] += splat(a[k]) * load(w + c * W);
        else
          for (int j = 0; j < W && j < left; j++) acc[c][j] += a[k] * w[(c * W + j) * m.width_stride];
      }
    }
    for (int c = 0; c < C; c++)
      if (const int left = m.width - n - c * W; left > 0) store(out + n + c * W, acc[c], left < W ? left : W);
  }
}

template <Form FORM, int R>
static void matmul_rows(int rows, const Rows& a, int inner, const Factor& m, int first, int width,
                        const float* const* init, float* const* out) {
  if constexpr (R > 0) {
    if (rows == R) rows_by_matrix<FORM, R>(a, inner, m, first, width, init, out);
    else matmul_rows<FORM, R - 1>(rows, a, inner, m, first, width, init, out);
  }
}

static void matmul_block(int rows, const Rows& a, int inner, const Factor& m, int first, int width,
                         const float* const* init, float* const* out) {
  if (m.form == FLOAT32) matmul_rows<FLOAT32, TILE_ROWS>(rows, a, inner, m, first, width, init, out);
  else if (m.form == BFLOAT16) matmul_rows<BFLOAT16, TILE_ROWS>(rows, a, inner, m, first, width, init, out);
  else matmul_rows<INT8, TILE_ROWS>(rows, a, inner, m, first, width, init, out);
}

// Where there are more rows than sums fit registers: panel by panel, so that a matrix from far away is read once.
static void matmul_any(int rows, const Rows& a, int inner, const Factor& m, int first, int width,
                       const float* const* init, float* const* out) {
  const int blocks = (rows + TILE_ROWS - 1) / TILE_ROWS;
  if (blocks == 1) return matmul_block(rows, a, inner, m, first, width, init, out);
  Rows some[MAX_ROWS / TILE_ROWS];
  for (int r = 0, b = 0; b < blocks; b++)
    for (const int r0 = r; r < rows * (b + 1) / blocks; r++) {
      some[b].groups[r - r0] = a.groups[r];
      some[b].step[r - r0] = a.step[r];
    }
  const float* from[MAX_ROWS];
  float* to[MAX_ROWS];
  for (int n = 0; n < width; n += 2 * W) {
    const int columns = width - n < 2 * W ? width - n : 2 * W;
    for (int r = 0; r < rows; r++) {
      to[r] = out[r] + n;
      if (init) from[r] = init[r] + n;
    }
    for (int b = 0; b < blocks; b++) {
      const int r0 = rows * b / blocks;
      matmul_block(rows * (b + 1) / blocks - r0, some[b], inner, m, first + n, columns, init ? from + r0 : nullptr, to + r0);
    }
  }
}

static int32_t panels(int32_t width) { return (width + 2 * W - 1) / (2 * W); }

static int64_t packed_size(int32_t groups, int32_t width) {
  const int32_t tail = width % (2 * W);
  return (int64_t)groups * (width - tail + (tail == 0 ? 0 : tail > W ? 2 * W : W));
}

// A block of W by W numbers, rows to columns.
static inline void transpose(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
#if defined(UNSPOOL_NO_SHUFFLE)
  for (int i = 0; i < W; i++)
    for (int k = 0; k < W; k++) to[k * to_stride + i] = from[i * from_stride + k];
#else
  V v[W];
  for (int i = 0; i < W; i++) v[i] = load(from + i * from_stride);
  // log2(W) rounds that swap halves of ever smaller blocks between rows.
#pragma GCC unroll 4
  for (int half = W / 2; half > 0; half /= 2) {
    I low, high;
    for (int i = 0; i < W; i++) {
      low[i] = (i & half) ? W + (i ^ half) : i;
      high[i] = (i & half) ? W + i : (i ^ half);
    }
    for (int i = 0; i < W; i++) {
      if (i & half) continue;
      const V a = v[i], b = v[i | half];
      v[i] = shuffle(a, b, low);
      v[i | half] = shuffle(a, b, high);
    }
  }
  for (int i = 0; i < W; i++) store(to + i * to_stride, v[i]);
#endif
}

static void pack_float32(const View& m, float* out, int32_t first, int32_t last) {
  for (int32_t p = first; p < last; p++) {
    const int32_t n0 = p * 2 * W, left = m.width - n0, columns = left > W ? 2 * W : W;
    const int32_t valid = left < columns ? left : columns;
    float* dst = out + (int64_t)n0 * m.inner;
    const float* src = m.data + n0 * m.width_stride;
    if (m.width_stride == 1) {
      for (int32_t k = 0; k < m.inner; k++, dst += columns) {
        std::memcpy(dst, src + k * m.inner_stride, valid * sizeof(float));
        for (int32_t n = valid; n < columns; n++) dst[n] = 0.f;
      }
      continue;
    }
    constexpr int32_t BLOCK = 16;     // rows of the matrix read together: a cache line each
    int32_t k0 = 0;
    if (m.inner_stride == 1 && valid == columns)
      for (; k0 + W <= m.inner; k0 += W)
        for (int32_t n = 0; n < columns; n += W) transpose(src + n * m.width_stride + k0, m.width_stride,
                                                           dst + (int64_t)k0 * columns + n, columns);
    for (; k0 < m.inner; k0 += BLOCK) {
      const int32_t k1 = k0 + BLOCK < m.inner ? k0 + BLOCK : m.inner;
      for (int32_t n = 0; n < valid; n++) {
        const float* s = src + n * m.width_stride + k0 * m.inner_stride;
        float* d = dst + (int64_t)k0 * columns + n;
        for (int32_t k = k0; k < k1; k++, s += m.inner_stride, d += columns) *d = *s;
      }
      for (int32_t k = k0; k < k1; k++)
        for (int32_t n = valid; n < columns; n++) dst[(int64_t)k * columns + n] = 0.f;
    }
  }
}

// Of a matrix whose columns, or whose rows, are contiguous: whole vectors at a time; `count` groups of each column.
static void pack_bfloat16(const View& m, int32_t count, float* out, int32_t first, int32_t last) {
  for (int32_t p = first; p < last; p++) {
    const int32_t n0 = p * 2 * W, left = m.width - n0, columns = left > W ? 2 * W : W;
    const int32_t valid = left < columns ? left : columns;
    float* dst = out + (int64_t)n0 * count;
    const float* src = m.data + n0 * m.width_stride;
    for (int32_t g = 0; g < count && m.width_stride == 1; g++) {
      const auto row = [&](int32_t k) { return k < m.inner ? src + k * m.inner_stride : nullptr; };
      pair_rows(row(2 * g), row(2 * g + 1), valid, dst + (int64_t)g * columns);
    }
    for (int32_t g = 0; g < count && m.width_stride != 1; g += W)
      for (int32_t n = 0; n < columns; n += W) {
        float rows[W * W] = {}, turned[W * W];
        const int32_t k = 2 * g, inner = m.inner - k < 2 * W ? m.inner - k : 2 * W;
        for (int32_t i = 0; i < W && n + i < valid; i++)
          narrow_row(src + (n + i) * m.width_stride + k, inner, BFLOAT16, (uint32_t*)rows + i * W);
        transpose(rows, W, turned, W);
        for (int32_t i = 0; i < W && g + i < count; i++) store(dst + (int64_t)(g + i) * columns + n, load(turned + i * W));
      }
  }
}

static void pack(const Factor& f, int32_t first, int32_t last) {
  if (f.form == FLOAT32) pack_float32(f.view, f.packed, first, last);
  else if (f.form != INT8 && (f.view.width_stride == 1 || f.view.inner_stride == 1))
    pack_bfloat16(f.view, groups(f.view.inner, f.form), f.packed, first, last);
  else pack_narrow(f, first, last);
}

// Operations a second, f() being so many of them.
template <class F>
static inline double rate(double seconds, double operations, F f) {
  using clock = std::chrono::steady_clock;
  const auto start = clock::now();
  double done = 0, elapsed = 0;
  while (elapsed < seconds) {
    f();
    done += operations;
    elapsed = std::chrono::duration<double>(clock::now() - start).count();
  }
  return done / elapsed;
}

}  // namespace unspool::UNSPOOL_NS
