// Sums over tokens: of outer products of their rows, and of the rows' columns.
#pragma once
#include "gemm.h"

namespace unspool::UNSPOOL_NS {

constexpr int TOKEN_BLOCK = 96;   // tokens at most whose rows are laid out together

static int64_t sums_workspace(const Sums& s) {
  int32_t n = 0;
  for (const Outer& o : s.products) n = o.n > n ? o.n : n;
  return (int64_t)TOKEN_BLOCK * (panels(n) * 2 * W + TILE_ROWS);
}

// c (R, C vectors) += sum over tokens of column m of a[t] times a packed row of b. a: rows of `a` from column m.
template <int R, int C, class A>
static inline void outer_tile(A a, const float* b, int tokens, float* c, int64_t c_stride, int rows, int valid) {
  V acc[R][C] = {};
  for (int t = 0; t < tokens; t++, b += C * W) {
    const float* x_row = a(t);
    V column[C];
    for (int i = 0; i < C; i++) column[i] = load(b + i * W);
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      V x = splat(x_row[r]);
      for (int i = 0; i < C; i++) acc[r][i] += x * column[i];
    }
  }
  const int full = valid / W, tail = valid % W;
  for (int r = 0; r < rows; r++)
    for (int i = 0; i < C; i++) {
      float* p = c + r * c_stride + i * W;
      if (i < full) store(p, load(p) + acc[r][i]);
      else if (tail) store(p, load(p, tail) + acc[r][i], tail);
    }
}

template <class A>
static inline void outer_rows(const Outer& o, A a, const float* b_panels, int tokens, int32_t m, int rows) {
  for (int32_t n = 0; n < o.n; n += 2 * W) {
    const int left = o.n - n;
    const float* b = b_panels + (int64_t)TOKEN_BLOCK * n;
    float* c = o.c + m * o.c_stride + n;
    if (left > W) outer_tile<TILE_ROWS, 2>(a, b, tokens, c, o.c_stride, rows, left < 2 * W ? left : 2 * W);
    else outer_tile<TILE_ROWS, 1>(a, b, tokens, c, o.c_stride, rows, left);
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
    if (rows == R && spread) {
      outer_rows(o, [a, at](int t) { return a[t] + at; }, b_panels, tokens, m, rows);
      continue;
    }
    for (int t = 0; t < tokens; t++)
      for (int r = 0; r < R; r++) a_panel[t * R + r] = r < rows ? a[t][at + r] : 0.f;
    outer_rows(o, [a_panel](int t) { return a_panel + t * R; }, b_panels, tokens, m, rows);
  }
}

// Columns first ... last of c's.
static void column_sum(const ColumnSum& c, const float* const* a, const float* const* b, int tokens, int32_t first,
                       int32_t last) {
  for (int32_t u = first; u < last; u += W) {
    const int n = last - u < W ? last - u : W;
    const int32_t from = c.a_offset + u, by = c.b_offset + u;
    V sum = load(c.out + u, n);
    if (b)
      for (int t = 0; t < tokens; t++) sum += load(a[t] + from, n) * load(b[t] + by, n);
    else if (n == W)
      for (int t = 0; t < tokens; t++) sum += load(a[t] + from);
    else
      for (int t = 0; t < tokens; t++) sum += load(a[t] + from, n);
    store(c.out + u, sum, n);
  }
}

// The order of additions does not depend on how columns are shared out.
static void sums(const Sums& s, int32_t first, int32_t last, float* workspace) {
  const int64_t blocks = (s.tokens + TOKEN_BLOCK - 1) / TOKEN_BLOCK;
  for (int64_t block = 0; block < blocks; block++) {
    const int64_t t0 = s.tokens * block / blocks;
    const int tokens = (int)(s.tokens * (block + 1) / blocks - t0);
    for (const Outer& o : s.products) {
      const int32_t low = first > o.a_offset ? first - o.a_offset : 0;
      const int32_t high = last - o.a_offset < o.m ? last - o.a_offset : o.m;
      if (low < high) outer(o, s.a + t0, o.b + t0, tokens, s.spread, low, high, workspace);
    }
    for (const ColumnSum& c : s.columns) {
      const int32_t low = first > c.a_offset ? first - c.a_offset : 0;
      const int32_t high = last - c.a_offset < c.width ? last - c.a_offset : c.width;
      if (low < high) column_sum(c, s.a + t0, c.b ? c.b + t0 : nullptr, tokens, low, high);
    }
  }
}

}  // namespace unspool::UNSPOOL_NS
