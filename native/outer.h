// Sums over tokens: of outer products of their rows, and of the rows' columns.
#pragma once
#include "gemm.h"

namespace unspool::UNSPOOL_NS {

constexpr int TOKEN_BLOCK = 128;   // tokens at most whose rows are laid out together

// Numbers between rows of pairs of m columns: whole vectors and a tile fit, an odd number of cache lines.
static inline int32_t pairs_stride(int32_t m) { return ((m + W + TILE_ROWS + 15) / 16 | 1) * 16; }

static int64_t sums_workspace(const Sums& s) {
  int32_t n = 0, m = TILE_ROWS;
  for (const Outer& o : s.products) {
    n = o.n > n ? o.n : n;
    if (s.form == BFLOAT16 && o.m > m) m = o.m;
  }
  return (int64_t)TOKEN_BLOCK * (panels(n) * 2 * W + (s.form == BFLOAT16 ? pairs_stride(m) / 2 : TILE_ROWS));
}

// c (R, C vectors) += sum over tokens of columns of a[t] times a packed row of b. a: rows of `a` from the first column.
// BFLOAT16: a token stands for a pair of them, in the two halves of each number.
// WHOLE: all of c exists; else `rows` by `valid` of it. NEXT: the columns after these are read next.
template <Form FORM, int R, int C, bool WHOLE, bool NEXT, class A>
static inline void outer_tile(A a, const float* b, int tokens, float* c, int64_t c_stride, int rows, int valid) {
  V acc[R][C] = {};
  if (WHOLE) {
#pragma GCC unroll 12
    for (int r = 0; r < R; r++)
      for (int i = 0; i < C; i++) __builtin_prefetch(c + r * c_stride + i * W, 1);
  }
  for (int t = 0; t < tokens; t++, b += C * W) {
    const float* x_row = a(t);
    if (NEXT) __builtin_prefetch(x_row + 2 * R - 1);
    V column[C];
    for (int i = 0; i < C; i++) column[i] = load(b + i * W);
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      V x = splat(x_row[r]);
      for (int i = 0; i < C; i++) acc[r][i] = multiply_add<FORM>(acc[r][i], x, column[i]);
    }
  }
  if (WHOLE) {
#pragma GCC unroll 12
    for (int r = 0; r < R; r++, c += c_stride)
      for (int i = 0; i < C; i++) store(c + i * W, load(c + i * W) + acc[r][i]);
    return;
  }
  const int full = valid / W, tail = valid % W;
  for (int r = 0; r < rows; r++)
    for (int i = 0; i < C; i++) {
      float* p = c + r * c_stride + i * W;
      if (i < full) store(p, load(p) + acc[r][i]);
      else if (i == full && tail) store(p, load(p, tail) + acc[r][i], tail);
    }
}

// Rows m ... m + rows of one product; R of them at the most.
template <Form FORM, int R, class A>
static inline void outer_rows(const Outer& o, A a, const float* b_panels, int tokens, int32_t m, int rows) {
  for (int32_t n = 0; n < o.n; n += 2 * W) {
    const int left = o.n - n;
    const float* b = b_panels + (int64_t)TOKEN_BLOCK * n;
    float* c = o.c + m * o.c_stride + n;
    if (rows == R && left > 2 * W) outer_tile<FORM, R, 2, true, false>(a, b, tokens, c, o.c_stride, rows, 2 * W);
    else if (rows == R && left == 2 * W) outer_tile<FORM, R, 2, true, true>(a, b, tokens, c, o.c_stride, rows, 2 * W);
    else if (left > W) outer_tile<FORM, R, 2, false, false>(a, b, tokens, c, o.c_stride, rows, left < 2 * W ? left : 2 * W);
    else outer_tile<FORM, R, 1, false, false>(a, b, tokens, c, o.c_stride, rows, left);
  }
}

// Rows [m_first, m_last) of one product, over a block of tokens.
static void outer(const Outer& o, const float* const* a, const float* const* b, int tokens, bool spread,
                  int32_t m_first, int32_t m_last, float* workspace) {
  constexpr int R = TILE_ROWS;
  float* b_panels = workspace;
  float* a_panel = workspace + (int64_t)TOKEN_BLOCK * panels(o.n) * 2 * W;
  for (int32_t n = 0; n < o.n; n += 2 * W) {
    const int left = o.n - n, columns = left > W ? 2 * W : W, valid = left < columns ? left : columns;
    float* dst = b_panels + (int64_t)TOKEN_BLOCK * n;
    for (int t = 0; t < tokens; t++, dst += columns) {
      const float* from = b[t] + o.b_offset + n;
      if (valid == 2 * W) {
        store(dst, load(from));
        store(dst + W, load(from + W));
      } else {
        for (int i = 0; i < columns; i++) dst[i] = i < valid ? from[i] : 0.f;
      }
    }
  }
  for (int32_t m = m_first; m < m_last; m += R) {
    const int rows = m_last - m < R ? m_last - m : R;
    const int32_t at = o.a_offset + m;
    const auto in_place = [a, at](int t) { return a[t] + at; };
    if (spread && rows == R) {
      outer_rows<FLOAT32, R>(o, in_place, b_panels, tokens, m, rows);
    } else if (spread && R > 8 && rows == 8) {
      outer_rows<FLOAT32, 8>(o, in_place, b_panels, tokens, m, rows);
    } else if (spread && R > 4 && rows == 4) {
      outer_rows<FLOAT32, 4>(o, in_place, b_panels, tokens, m, rows);
    } else {
      for (int t = 0; t < tokens; t++)
        for (int r = 0; r < R; r++) a_panel[t * R + r] = r < rows ? a[t][at + r] : 0.f;
      outer_rows<FLOAT32, R>(o, [a_panel](int t) { return a_panel + t * R; }, b_panels, tokens, m, rows);
    }
  }
}

// As `outer`, of numbers rounded to bfloat16: pairs of tokens are multiplied and added at once.
static void outer_narrow(const Outer& o, const float* const* a, const float* const* b, int tokens, int32_t m_first,
                         int32_t m_last, float* workspace) {
  constexpr int R = TILE_ROWS;
  const int pairs = (tokens + 1) / 2;
  float* b_panels = workspace;
  float* a_pairs = workspace + (int64_t)TOKEN_BLOCK * panels(o.n) * 2 * W;
  const int64_t stride = pairs_stride(m_last - m_first);
  for (int p = 0; p < pairs; p++) {
    const bool two = 2 * p + 1 < tokens;
    const auto rows = [&](const float* const* of, int32_t at, int32_t columns, float* to) {
      pair_rows(of[2 * p] + at, two ? of[2 * p + 1] + at : nullptr, columns, to);
    };
    rows(a, o.a_offset + m_first, m_last - m_first, a_pairs + p * stride);
    for (int32_t n = 0; n < o.n; n += 2 * W) {
      const int32_t left = o.n - n, columns = left > W ? 2 * W : W;
      float* to = b_panels + (int64_t)TOKEN_BLOCK * n + p * columns;
      rows(b, o.b_offset + n, left < columns ? left : columns, to);
    }
  }
  for (int32_t m = m_first; m < m_last; m += R) {
    const float* from = a_pairs + (m - m_first);
    outer_rows<BFLOAT16, R>(o, [=](int p) { return from + p * stride; }, b_panels, pairs, m, m_last - m < R ? m_last - m : R);
  }
}

// C vectors of columns from u: out += the sum over tokens of a[t], or of a[t] times b[t]. valid: of the last vector.
template <int C>
static inline void column_tile(const ColumnSum& c, const float* const* a, const float* const* b, int tokens, int32_t u,
                               int valid) {
  const auto read = [valid](const float* p, int i) { return i == C - 1 ? load(p + i * W, valid) : load(p + i * W); };
  V sum[C];
  for (int i = 0; i < C; i++) sum[i] = read(c.out + u, i);
  for (int t = 0; t < tokens; t++)
    for (int i = 0; i < C; i++) {
      const V x = read(a[t] + c.a_offset + u, i);
      sum[i] += b ? x * read(b[t] + c.b_offset + u, i) : x;
    }
  for (int i = 0; i < C; i++) store(c.out + u + i * W, sum[i], i == C - 1 ? valid : W);
}

// Columns first ... last of c's.
static void column_sum(const ColumnSum& c, const float* const* a, const float* const* b, int tokens, int32_t first,
                       int32_t last) {
  int32_t u = first;
  for (; u + 4 * W <= last; u += 4 * W) column_tile<4>(c, a, b, tokens, u, W);
  for (; u < last; u += W) column_tile<1>(c, a, b, tokens, u, last - u < W ? last - u : W);
}

// Those of a block of tokens, from t0 on, in columns first ... last of a.
static void column_sums(const Sums& s, int64_t t0, int tokens, int32_t first, int32_t last) {
  for (const ColumnSum& c : s.columns) {
    const int32_t low = first > c.a_offset ? first - c.a_offset : 0;
    const int32_t high = last - c.a_offset < c.width ? last - c.a_offset : c.width;
    if (low < high) column_sum(c, s.a + t0, c.b ? c.b + t0 : nullptr, tokens, low, high);
  }
}

// f(first token, tokens) of blocks of at most so many.
template <class F>
static inline void by_block(int64_t tokens, int most, F f) {
  const int64_t blocks = (tokens + most - 1) / most;
  for (int64_t block = 0; block < blocks; block++) {
    const int64_t t0 = tokens * block / blocks;
    f(t0, (int)(tokens * (block + 1) / blocks - t0));
  }
}

// The order of additions does not depend on how columns are shared out.
static void sums(const Sums& s, int32_t first, int32_t last, float* workspace) {
  by_block(s.tokens, TOKEN_BLOCK, [&](int64_t t0, int tokens) {
    for (const Outer& o : s.products) {
      const int32_t low = first > o.a_offset ? first - o.a_offset : 0;
      const int32_t high = last - o.a_offset < o.m ? last - o.a_offset : o.m;
      if (low >= high) continue;
      if (s.form == BFLOAT16) outer_narrow(o, s.a + t0, o.b + t0, tokens, low, high, workspace);
      else outer(o, s.a + t0, o.b + t0, tokens, s.spread, low, high, workspace);
    }
    column_sums(s, t0, tokens, first, last);
  });
}

}  // namespace unspool::UNSPOOL_NS
