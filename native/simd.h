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
// Lane i of the result: the sum of v[i]. log2(W) rounds halve the number of vectors.
static inline V totals(V (&v)[W]) {
#if defined(__clang__)
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
    for (int i = 0; i < half; i++) v[i] = __builtin_shuffle(v[i], v[i + half], low) + __builtin_shuffle(v[i], v[i + half], high);
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

// e^x as (2^n, q) with e^x = 2^n (1 + q), |x| <= 88: Cephes expf, Moshier 1989.
struct Exp { V scale, q; };
static inline Exp exp_parts(V x) {
  const float magic = 12582912.f;        // 1.5 * 2^23: adding it rounds to an integer
  V t = x * 1.44269504f + magic;
  V n = t - magic;
  V r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  V p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
#if defined(__AVX512F__)
  V scale = (V)_mm512_scalef_ps(_mm512_set1_ps(1.f), (__m512)n);
#else
  V scale = (V)(((I)t - 0x4B400000 + 127) << 23);
#endif
  return {scale, p * (r * r) + r};
}
static inline V clamp(V x, float low, float high) {   // NaN stays NaN: max and min give their second operand
#if defined(__AVX512F__)
  return (V)_mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), (__m512)x));
#elif defined(__AVX2__)
  return (V)_mm256_min_ps(_mm256_set1_ps(high), _mm256_max_ps(_mm256_set1_ps(low), (__m256)x));
#else
  x = x < low ? splat(low) : x;
  return x > high ? splat(high) : x;
#endif
}
static inline V vsigmoid(V x) {
  Exp e = exp_parts(clamp(-x, -87.f, 87.f));
  return reciprocal(e.scale * e.q + (e.scale + 1.f));
}
static inline V vexpm1_clamped(V x) {
  Exp e = exp_parts(x);
  return e.scale * e.q + (e.scale - 1.f);
}
static inline V vtanh(V x) {              // (e^2x - 1) / (e^2x + 1); e^2x - 1 keeps its digits near 0
  V m = vexpm1_clamped(clamp(x + x, -20.f, 20.f));
  return m * reciprocal(m + 2.f);
}
static inline V vexp(V x) {               // overflows to inf, underflows to 0
  V half = clamp(x, -176.f, 176.f) * 0.5f;
  Exp e = exp_parts(half);
  V y = e.scale * e.q + e.scale;
  V wide = y * y;
  Exp d = exp_parts(clamp(x, -87.f, 88.f));
  V near = d.scale * d.q + d.scale;
  return (x > 88.f) | (x < -87.f) ? wide : near;
}
static inline V vexpm1(V x) { return x > 20.f ? vexp(x) : vexpm1_clamped(clamp(x, -20.f, 20.f)); }

static inline V vlog(V x) {               // Cephes logf; x > 0 normal, 0 gives -inf, negative NaN
  I bits = (I)x;
  V tiny = splat(1.17549435e-38f);
  I e = ((bits >> 23) & 0xff) - 126;
  V m = (V)((bits & 0x007fffff) | 0x3f000000);   // [0.5, 1)
  I small = m < 0.707106781f;
  V ef = __builtin_convertvector(e, V);
  ef = small ? ef - 1.f : ef;
  m = small ? m + m - 1.f : m - 1.f;
  V z = m * m;
  V p = splat(7.0376836292e-2f);
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  V y = p * m * z + ef * -2.12194440e-4f - 0.5f * z;
  V r = m + y + ef * 0.693359375f;
  r = x < tiny ? splat(-INFINITY) : r;
  r = x < 0.f ? splat(NAN) : r;
  r = x > 3.4028234e38f ? x : r;
  return x != x ? x : r;
}
static inline V vsoftplus(V x) {          // max(x, 0) + log1p(e^-|x|)
  V u = vexp(x > 0.f ? -x : x);
  V w = u + 1.f;
  V l = w == 1.f ? u : vlog(w) * (u / (w - 1.f));
  return (x > 0.f ? x : splat(0.f)) + (x != x ? x : l);
}
static inline V verf(V x) {
  V r;
  for (int i = 0; i < W; i++) r[i] = std::erf(x[i]);
  return r;
}

}  // namespace unspool::UNSPOOL_NS
