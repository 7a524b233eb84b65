// Vectors of W floats for the instruction set this file is compiled for; loads and stores with a tail.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512BF16__)
#define UNSPOOL_NS avx512_bf16
constexpr int W = 16, TILE_ROWS = 12;
#elif defined(__AVX512F__)
#define UNSPOOL_NS avx512
constexpr int W = 16, TILE_ROWS = 12;
#elif defined(__AVX2__)
#define UNSPOOL_NS avx2
constexpr int W = 8, TILE_ROWS = 6;
#elif defined(__ARM_NEON)
#define UNSPOOL_NS neon
constexpr int W = 4, TILE_ROWS = 12;
#else
#define UNSPOOL_NS portable
constexpr int W = 4, TILE_ROWS = 6;
#endif

namespace unspool::UNSPOOL_NS {

typedef float V __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef int32_t I __attribute__((vector_size(W * 4), aligned(4), may_alias));

// Not V{} + x: for the sake of -0 that stays an addition and a shuffle, 15 % of a product's time.
static inline V splat(float x) {
#if defined(__AVX512F__)
  return (V)_mm512_set1_ps(x);
#elif defined(__AVX2__)
  return (V)_mm256_set1_ps(x);
#else
  V v;
  for (int i = 0; i < W; i++) v[i] = x;
  return v;
#endif
}
static inline V load(const float* p) { return *(const V*)p; }
static inline void store(float* p, V v) { *(V*)p = v; }

static inline V load(const float* p, int n) {     // n = 0 ... W numbers, zeros after
#if defined(__AVX512F__)
  return (V)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
  V v{};
  for (int i = 0; i < n; i++) v[i] = p[i];
  return v;
#endif
}
static inline void store(float* p, V v, int n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
  for (int i = 0; i < n; i++) p[i] = v[i];
#endif
}
static inline V first(V v, int n) {               // its first n numbers, zeros after
  float t[W];
  store(t, v);
  return load(t, n);
}
static inline float total(V v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)v);
#else
  float s = 0;
  for (int i = 0; i < W; i++) s += v[i];
  return s;
#endif
}
// Lane i of the result: number index[i] of a and b side by side, which the compiler has to know.
#if defined(__clang__) && defined(__AVX512F__)
static inline V shuffle(V a, V b, I index) { return (V)_mm512_permutex2var_ps((__m512)a, (__m512i)index, (__m512)b); }
#elif !defined(__clang__)
static inline V shuffle(V a, V b, I index) { return __builtin_shuffle(a, b, index); }
#else
#define UNSPOOL_NO_SHUFFLE
#endif
// Lane i of the result: the sum of v[i]. log2(W) rounds halve the number of vectors.
static inline V totals(V (&v)[W]) {
#if defined(UNSPOOL_NO_SHUFFLE)
  V sums{};
  for (int i = 0; i < W; i++) sums[i] = total(v[i]);
  return sums;
#else
#pragma GCC unroll 4
  for (int half = W / 2; half > 0; half /= 2) {
    I low, high;
    for (int l = 0; l < W; l++) {
      low[l] = l & half ? W + (l ^ half) : l;
      high[l] = l & half ? W + l : (l ^ half);
    }
    for (int i = 0; i < half; i++) v[i] = shuffle(v[i], v[i + half], low) + shuffle(v[i], v[i + half], high);
  }
  return v[0];
#endif
}
static inline V reciprocal(V x) {
#if defined(__AVX512F__)
  V r = (V)_mm512_rcp14_ps((__m512)x);   // 2^-14, squared by one Newton step
  return r * (2.f - x * r);
#else
  return 1.f / x;
#endif
}
static inline V vsqrt(V x) {
  V r;
  for (int i = 0; i < W; i++) r[i] = std::sqrt(x[i]);
  return r;
}

}  // namespace unspool::UNSPOOL_NS
