// Rows seen as several axes: numbers at regular distances, the largest of each group, sums of products.
#pragma once
#include <algorithm>
#include <limits>
#include <utility>

#include "abi.h"
#include "simd.h"

namespace unspool::UNSPOOL_NS {

// f(place, from) for each run along the last axis of a pattern (offset, then size and stride of each axis, outermost
// first): the run's first place, and how many numbers come before it.
template <class F>
static inline void runs(const std::vector<int32_t>& pattern, F f) {
  const int axes = ((int)pattern.size() - 1) / 2;
  const int32_t* axis = pattern.data() + 1;
  const int last = axes - 1, size = axis[2 * last];
  int32_t index[MAX_AXES] = {};
  int64_t place = pattern[0], from = 0;
  for (;;) {
    f(place, from);
    from += size;
    int d = last - 1;
    for (; d >= 0; d--) {
      place += axis[2 * d + 1];
      if (++index[d] < axis[2 * d]) break;
      place -= (int64_t)axis[2 * d] * axis[2 * d + 1];
      index[d] = 0;
    }
    if (d < 0) return;
  }
}

static inline void each(int n, auto whole, auto part) {
  int u = 0;
  for (; u + W <= n; u += W) whole(u);
  if (u < n) part(u, n - u);
}

static inline void copy(float* to, const float* from, int n) {
  each(n, [&](int u) { store(to + u, load(from + u)); }, [&](int u, int m) { store(to + u, load(from + u, m), m); });
}
static inline void fill(float* to, float value, int n) {
  const V v = splat(value);
  each(n, [&](int u) { store(to + u, v); }, [&](int u, int m) { store(to + u, v, m); });
}
static inline void add(float* to, const float* from, int n) {
  each(n, [&](int u) { store(to + u, load(to + u) + load(from + u)); },
       [&](int u, int m) { store(to + u, load(to + u, m) + load(from + u, m), m); });
}
static inline void add_times(float* to, const float* from, float factor, int n) {
  const V f = splat(factor);
  each(n, [&](int u) { store(to + u, load(from + u) * f + load(to + u)); },
       [&](int u, int m) { store(to + u, load(from + u, m) * f + load(to + u, m), m); });
}
static inline float sum(const float* a, int n) {
  V s{};
  each(n, [&](int u) { s += load(a + u); }, [&](int u, int m) { s += load(a + u, m); });
  return total(s);
}
static inline float dot(const float* a, const float* b, int n) {
  V s{};
  each(n, [&](int u) { s += load(a + u) * load(b + u); }, [&](int u, int m) { s += load(a + u, m) * load(b + u, m); });
  return total(s);
}

// out[i] = a[i-th place]
static inline void take(const float* a, const std::vector<int32_t>& pattern, float* out) {
  const int size = pattern[pattern.size() - 2], stride = pattern.back();
  runs(pattern, [&](int64_t place, int64_t to) {
    const float* p = a + place;
    float* d = out + to;
    if (stride == 1) copy(d, p, size);
    else if (stride == 0) fill(d, *p, size);
    else for (int u = 0; u < size; u++) d[u] = p[(int64_t)u * stride];
  });
}

// out[i-th place] += a[i], from zeros
static inline void put(const float* a, const std::vector<int32_t>& pattern, float* out, int width) {
  const int size = pattern[pattern.size() - 2], stride = pattern.back();
  fill(out, 0.f, width);
  runs(pattern, [&](int64_t place, int64_t from) {
    const float* p = a + from;
    float* d = out + place;
    if (stride == 1) add(d, p, size);
    else if (stride == 0) *d += sum(p, size);
    else for (int u = 0; u < size; u++) d[(int64_t)u * stride] += p[u];
  });
}

static inline void gmax(const float* a, int groups, int size, float* out) {
  for (int g = 0; g < groups; g++, a += size) {
    float m = a[0];
    for (int u = 1; u < size; u++) m = a[u] > m || a[u] != a[u] ? a[u] : m;
    out[g] = m;
  }
}

// The places of the first `kept` numbers of each group in order, a NaN being the largest. pattern: size of a group, how
// many are kept, whether the largest come first, and how equal numbers stand: STABLE, or as torch's topk leaves them,
// which are the standard library's algorithms on pairs; with them the kept ones may be in no order.
enum Ties : int32_t { STABLE, TOPK, TOPK_UNSORTED };
static inline void order(const float* a, int width, const std::vector<int32_t>& pattern, float* out) {
  using Pair = std::pair<float, int64_t>;
  static thread_local std::vector<Pair> pairs;
  const int size = pattern[0], kept = pattern[1], ties = pattern[3];
  const bool largest = pattern[2];
  const auto before = [largest](const Pair& x, const Pair& y) {
    const bool x_nan = x.first != x.first, y_nan = y.first != y.first;
    return largest ? (x_nan && !y_nan) || x.first > y.first : (!x_nan && y_nan) || x.first < y.first;
  };
  for (int g = 0; g < width / kept; g++, a += size, out += kept) {
    pairs.resize(size);
    for (int u = 0; u < size; u++) pairs[u] = {a[u], u};
    const auto begin = pairs.begin(), middle = begin + kept, end = pairs.end();
    if (ties == STABLE) {
      if (kept == 1) *begin = *std::min_element(begin, end, before);
      else std::stable_sort(begin, end, before);
    } else if ((int64_t)kept * 64 <= size) {
      std::partial_sort(begin, middle, end, before);
    } else {
      std::nth_element(begin, middle - 1, end, before);
      if (ties == TOPK) std::sort(begin, middle - 1, before);
    }
    for (int u = 0; u < kept; u++) out[u] = (float)pairs[u].second;
  }
}

// out[i] = a[the i-th of `places`], which are whole numbers in float; NaN where there is none of that number.
static inline void pick(const float* a, const float* places, int n, int width, float* out) {
  for (int u = 0; u < n; u++) {
    const float p = places[u];
    out[u] = p >= 0 && p < (float)width ? a[(int32_t)p] : std::numeric_limits<float>::quiet_NaN();
  }
}

// out[the i-th of `places`] += a[i], from zeros; a place that there is none of takes nothing.
static inline void drop(const float* a, const float* places, int n, int width, float* out) {
  fill(out, 0.f, width);
  for (int u = 0; u < n; u++) {
    const float p = places[u];
    if (p >= 0 && p < (float)width) out[(int32_t)p] += a[u];
  }
}

// out[n, i, j] = sum over k of a[n, i, k] b[n, k, j]. pattern: sizes n i j k, strides of out (n i j), a (n i k), b (n k j).
static inline void contract(const float* a, const float* b, const std::vector<int32_t>& pattern, float* out) {
  const int32_t* p = pattern.data();
  const int n = p[0], i = p[1], j = p[2], k = p[3];
  const int64_t on = p[4], oi = p[5], oj = p[6], an = p[7], ai = p[8], ak = p[9], bn = p[10], bk = p[11], bj = p[12];
  const bool along_j = bj == 1 && oj == 1 && j > 1, along_i = ai == 1 && oi == 1 && i > 1;
  if (!(along_j && j >= k) && !(along_i && i >= k) && ak == 1 && bk == 1) {
    for (int g = 0; g < n; g++)
      for (int r = 0; r < i; r++)
        for (int c = 0; c < j; c++) out[g * on + r * oi + c * oj] = dot(a + g * an + r * ai, b + g * bn + c * bj, k);
    return;
  }
  // Rows of the result, each a sum of rows of b (or of a) times numbers of the other.
  const auto rows = [&](const float* s, int64_t sn, int64_t si, int64_t sk, const float* v, int64_t vn, int64_t vk,
                        int64_t di, int count, int length) {
    for (int g = 0; g < n; g++)
      for (int r = 0; r < count; r++) {
        float* to = out + g * on + r * di;
        const float *factor = s + g * sn + r * si, *row = v + g * vn;
        fill(to, 0.f, length);
        for (int t = 0; t < k; t++) add_times(to, row + t * vk, factor[t * sk], length);
      }
  };
  if (along_j) return rows(a, an, ai, ak, b, bn, bk, oi, i, j);
  if (along_i) return rows(b, bn, bj, bk, a, an, ak, oj, j, i);
  for (int g = 0; g < n; g++)
    for (int r = 0; r < i; r++)
      for (int c = 0; c < j; c++) {
        float s = 0;
        for (int t = 0; t < k; t++) s += a[g * an + r * ai + t * ak] * b[g * bn + t * bk + c * bj];
        out[g * on + r * oi + c * oj] = s;
      }
}

}  // namespace unspool::UNSPOOL_NS
